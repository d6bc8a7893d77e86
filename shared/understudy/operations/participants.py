"""The operations that read participants."""

from understudy.envelopes.base import Page
from understudy.envelopes.journeys import Journey
from understudy.envelopes.participants import Interaction, Participant, Transcript
from understudy.operations.operation import Operation, Tier
from understudy.operations.queries import InteractionsQuery, NoQuery, ParticipantsQuery

_TAGS = ("participant", "read")

PARTICIPANT_LIST = Operation(
    "participant_list",
    "GET",
    "/v1/participants",
    Tier.READ_ONLY,
    _TAGS,
    "List participants",
    """\
List the participants of a study, iteration, ask, round or the workspace, in order of creation.

Give at most one of `study_id`, `iteration_id` and `ask_id`.""",
    ParticipantsQuery,
    Page[Participant],
    example={"study_id": "s-b2c", "status": "failed"},
)

PARTICIPANT_GET = Operation(
    "participant_get",
    "GET",
    "/v1/participants/{participant_id}",
    Tier.READ_ONLY,
    _TAGS,
    "Get a participant",
    "Get one participant: its status, outcome and number of interactions.",
    NoQuery,
    Participant,
)

PARTICIPANT_INTERACTIONS = Operation(
    "participant_interactions",
    "GET",
    "/v1/participants/{participant_id}/interactions",
    Tier.READ_ONLY,
    _TAGS,
    "List interactions",
    "List the interactions of the lineage, oldest first: observation, thought, action and sentiment of each.",
    InteractionsQuery,
    Page[Interaction],
    example={"limit": 20},
)

PARTICIPANT_TRANSCRIPT = Operation(
    "participant_transcript",
    "GET",
    "/v1/participants/{participant_id}/transcript",
    Tier.READ_ONLY,
    _TAGS,
    "Get a transcript",
    "Get the run as text, over the lineage.",
    NoQuery,
    Transcript,
)

PARTICIPANT_JOURNEY = Operation(
    "participant_journey",
    "GET",
    "/v1/participants/{participant_id}/journey",
    Tier.READ_ONLY,
    _TAGS,
    "Get a journey",
    "Get thoughts, sentiment curve, friction points and where the person gave up, over the lineage.",
    NoQuery,
    Journey,
)
