"""The tools of asks."""

from starlette.concurrency import run_in_threadpool

from understudy.envelopes.asks import Ask
from understudy.envelopes.base import Page
from understudy.envelopes.simulations import RunStudyResponse
from understudy.mcp.arguments import AskGetArguments, AskRoundArguments, AskRunArguments, body_of, once
from understudy.mcp.tool import Tier, tool
from understudy.mcp.tool_call import Call
from understudy.operations.requests import AskRoundRequest, AskRunRequest
from understudy.service.ask_results import AskAnswer, get_ask, list_asks
from understudy.service.asks import run_ask, run_round
from understudy.service.response import timeout_of


@tool("Ask people", Tier.LONG_RUNNING, "ask", "dispatch")
async def ask_run(call: Call, request: AskRunArguments) -> RunStudyResponse:
    """Ask people which of some texts they pick: makes an ask and has its first round run.

    Each person reads all `variants` piece by piece, picks one, rates them and says why. Give exactly one of
    `sample` (N people sampled from the workspace; the simplest form) and `person_ids`; person_create with
    `generate` makes people. Returns at once with `ok: true`, `dispatch.ask_id` and the new ids in
    `dispatch.participant_ids`, or with `wait: true` when all have answered. Where something still runs,
    `next_action` is the call to make next. If the wait runs out (`error_kind` "wait_timeout") the runs go on:
    follow next_action, and do not call ask_run again, which would ask everybody a second time. Results:
    ask_get; the next round with the same people: ask_round; to stop: simulation_cancel with `ask_id`.
    """
    body = body_of(request, AskRunRequest)
    timeout_s = timeout_of(call.service, body)
    repeated = once("/v1/asks", request.idempotency_key, body)
    dispatch = await run_in_threadpool(run_ask, call.service, call.workspace_id, body, repeated)
    return await call.dispatch_response(dispatch, timeout_s, wait=body.wait)


@tool("Ask the same people again", Tier.LONG_RUNNING, "ask", "dispatch")
async def ask_round(call: Call, request: AskRoundArguments) -> RunStudyResponse:
    """Ask the people of an ask once more, in a new round: at most five rounds in all.

    What is not given is as in the round before; usually you give new `variants`. Returns as ask_run does, and
    the same holds for waits: follow next_action, and do not call ask_round again, which would open another
    round. ask_get tells what changed between rounds.
    """
    body = body_of(request, AskRoundRequest)
    timeout_s = timeout_of(call.service, body)
    repeated = once(f"/v1/asks/{request.ask_id}/rounds", request.idempotency_key, body)
    dispatch = await run_in_threadpool(
        run_round, call.service, call.workspace_id, request.ask_id, body, repeated
    )
    return await call.dispatch_response(dispatch, timeout_s, wait=body.wait)


@tool("Look at asks", Tier.READ_ONLY, "ask", "read")
def ask_get(call: Call, request: AskGetArguments) -> AskAnswer | Page[Ask]:
    """Look at what came of one ask, or without `ask_id` at the list of all.

    `view` "summary" (the default): by round the picks, the winner or tie, the ratings and who failed, and
    what changed between rounds. "per_participant" adds a page of people with their answers, "full" the
    whole texts too; `cursor` and `limit` go with these and the list, `next_cursor` is there while there is
    more.
    """
    if request.ask_id is None:
        return list_asks(call.service, call.workspace_id, request.cursor, request.limit)
    view, cursor, limit = request.view, request.cursor, request.explicit_limit
    return get_ask(call.service, call.workspace_id, request.ask_id, view, cursor, limit)
