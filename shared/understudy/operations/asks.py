"""The operations on asks: a question about texts, in rounds."""

from understudy.envelopes.asks import Ask, AskFull, AskPerParticipant, AskSummary
from understudy.envelopes.base import Page
from understudy.envelopes.simulations import RunStudyResponse
from understudy.operations.operation import Operation, Tier
from understudy.operations.queries import AskQuery, OverviewQuery
from understudy.operations.requests import AskRoundRequest, AskRunRequest

ASK_RUN = Operation(
    "ask_run",
    "POST",
    "/v1/asks",
    Tier.LONG_RUNNING,
    ("ask", "dispatch"),
    "Ask people",
    """\
Ask people which of several texts they pick: create an ask and run its first round.

Each person reads all `variants` piece by piece, picks one, rates them and says why. Give exactly one of `sample`
(N people sampled from the workspace; the simplest form) and `person_ids`. Returns the same as study_run, with
`dispatch.ask_id`. If the wait times out, follow next_action. Do not call ask_run again, which asks all people a
second time. Results: ask_get; next round with the same people: ask_round; cancel: simulation_cancel.""",
    AskRunRequest,
    RunStudyResponse,
    starts=True,
    positional=("question", "variants"),
    example={
        "question": "Which headline would make you read on?",
        "variants": ["Sleep better in a week", "Seven nights to better sleep"],
        "sample": 5,
    },
)

ASK_ROUND = Operation(
    "ask_round",
    "POST",
    "/v1/asks/{ask_id}/rounds",
    Tier.LONG_RUNNING,
    ("ask", "dispatch"),
    "Ask the same people again",
    """\
Ask the people of an ask again in a new round; an ask has at most five rounds.

Omitted arguments keep their values from the previous round; usually you give new `variants`. Returns the same as
ask_run. After a wait that times out, follow next_action. Do not call ask_round again, which opens another round.
ask_get returns the changes between rounds.""",
    AskRoundRequest,
    RunStudyResponse,
    starts=True,
    example={"variants": ["Sleep better in a week", "Wake up rested"]},
)

ASK_LIST = Operation(
    "ask_list",
    "GET",
    "/v1/asks",
    Tier.READ_ONLY,
    ("ask", "read"),
    "List asks",
    "List the asks of the workspace, in order of creation.",
    OverviewQuery,
    Page[Ask],
    example={"limit": 20},
)

ASK_GET = Operation(
    "ask_get",
    "GET",
    "/v1/asks/{ask_id}",
    Tier.READ_ONLY,
    ("ask", "read"),
    "Get an ask",
    """\
Get the results of one ask.

`view` "summary" (the default) has picks, winner or tie, ratings and failures by round, and the changes between
rounds. "per_participant" adds a page of people with their answers; "full" also adds the whole texts. `cursor` and
`limit` page these two views.""",
    AskQuery,
    AskFull | AskPerParticipant | AskSummary,
    positional=("view",),
    views={"summary": AskSummary, "full": AskFull, "per_participant": AskPerParticipant},
    example={"view": "summary"},
)
