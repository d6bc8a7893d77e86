"""All operations, in the order of contract section 6."""

from understudy.operations.asks import ASK_GET, ASK_LIST, ASK_ROUND, ASK_RUN
from understudy.operations.deletions import ASK_DELETE, PERSON_DELETE, STUDY_DELETE
from understudy.operations.docs import DOCS_GET, DOCS_LIST
from understudy.operations.operation import Operation
from understudy.operations.participants import (
    PARTICIPANT_GET,
    PARTICIPANT_INTERACTIONS,
    PARTICIPANT_JOURNEY,
    PARTICIPANT_LIST,
    PARTICIPANT_TRANSCRIPT,
)
from understudy.operations.people import PERSON_CREATE, PERSON_EXPORT, PERSON_GET, PERSON_LIST
from understudy.operations.simulations import (
    PARTICIPANT_CANCEL,
    PARTICIPANT_EXTEND,
    SIMULATION_CANCEL,
    SIMULATION_EXTEND,
    SIMULATION_WAIT,
)
from understudy.operations.studies import (
    STUDY_ADD_ITERATION,
    STUDY_CREATE,
    STUDY_GET,
    STUDY_LIST,
    STUDY_PAUSE,
    STUDY_RESUME,
    STUDY_RUN,
)
from understudy.operations.webhooks import (
    WEBHOOK_CREATE,
    WEBHOOK_DELETE,
    WEBHOOK_DELIVERIES,
    WEBHOOK_GET,
    WEBHOOK_LIST,
    WEBHOOK_REPLAY,
    WEBHOOK_ROTATE,
)

#: A fixed path comes before one with a parameter in its place.
OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        *(STUDY_CREATE, STUDY_ADD_ITERATION, STUDY_RUN, STUDY_PAUSE, STUDY_RESUME, STUDY_LIST, STUDY_GET, STUDY_DELETE),
        *(ASK_RUN, ASK_ROUND, ASK_LIST, ASK_GET, ASK_DELETE),
        *(PERSON_CREATE, PERSON_LIST, PERSON_EXPORT, PERSON_GET, PERSON_DELETE),
        *(PARTICIPANT_LIST, PARTICIPANT_GET),
        *(PARTICIPANT_INTERACTIONS, PARTICIPANT_TRANSCRIPT, PARTICIPANT_JOURNEY),
        *(SIMULATION_CANCEL, PARTICIPANT_CANCEL, SIMULATION_EXTEND, PARTICIPANT_EXTEND, SIMULATION_WAIT),
        *(DOCS_LIST, DOCS_GET),
        *(WEBHOOK_CREATE, WEBHOOK_LIST, WEBHOOK_GET, WEBHOOK_DELETE),
        *(WEBHOOK_ROTATE, WEBHOOK_REPLAY, WEBHOOK_DELIVERIES),
    )
}
