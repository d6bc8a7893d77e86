"""Names of tasks, commands and channels: stable strings, not function paths; all versions share them."""

RUN_TASK = "simulation.run"
STOP_TASK = "simulation.stop"

#: Remote-control command that aborts the steps in flight of some participants.
ABORT_COMMAND = "abort_participants"

#: Remote-control command that asks how a participant is.
STATE_COMMAND = "participant_state"

#: Celery's own command, which Flower sends for an operator. Workers cancel the participant.
REVOKE_COMMAND = "revoke"
#: Argument that a stop task adds to a revoke: the participant is already cancelled.
ALREADY_CANCELLED = "cancelled_already"

#: Pub-sub channel for notifications that participants became terminal. A hint: the row decides.
NOTIFICATION_CHANNEL = "understudy.notices"
