"""The operations that delete: over REST and on the command line, never as tools."""

from understudy.envelopes.deletions import Deleted
from understudy.operations.operation import Operation, Tier
from understudy.operations.queries import NoQuery

_RUNS = """\
Delete {0} with everything in it, for good: {1}, participants, interactions and events.

Answers `conflict` while a participant in it is pending or running: cancel them first. An idempotency key that
created it answers `conflict` afterwards."""

STUDY_DELETE = Operation(
    "study_delete",
    "DELETE",
    "/v1/studies/{study_id}",
    Tier.DESTRUCTIVE,
    ("study", "destructive"),
    "Delete a study",
    _RUNS.format("a study", "iterations"),
    NoQuery,
    Deleted,
)

ASK_DELETE = Operation(
    "ask_delete",
    "DELETE",
    "/v1/asks/{ask_id}",
    Tier.DESTRUCTIVE,
    ("ask", "destructive"),
    "Delete an ask",
    _RUNS.format("an ask", "rounds"),
    NoQuery,
    Deleted,
)

PERSON_DELETE = Operation(
    "person_delete",
    "DELETE",
    "/v1/people/{person_id}",
    Tier.DESTRUCTIVE,
    ("person", "destructive"),
    "Delete a person",
    """\
Delete a person, for good.

Answers `conflict` while the person has participants: delete their studies and asks first. An idempotency key that
created the person answers `conflict` afterwards.""",
    NoQuery,
    Deleted,
)
