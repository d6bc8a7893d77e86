"""Names of tasks, commands and channels. Stable strings, never function paths: all versions share them."""

RUN_TASK = "simulation.run"
STOP_TASK = "simulation.stop"

#: Remote-control command that aborts the steps in flight of some participants.
ABORT_COMMAND = "abort_participants"

#: Celery's own command, which Flower sends for an operator: workers cancel the participant.
REVOKE_COMMAND = "revoke"
#: Argument of that command by which a stop task says that it does so for one who was cancelled.
ALREADY_CANCELLED = "cancelled_already"

#: Channel on which processes tell that participants became terminal. A hint: the row decides.
NOTIFICATION_CHANNEL = "understudy.notices"
