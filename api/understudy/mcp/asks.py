"""The MCP tools for asks."""

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
    """Ask people which of several texts they pick: create an ask and run its first round.

    Each person reads all `variants` piece by piece, picks one, rates them and says why. Give exactly one of
    `sample` (N people sampled from the workspace; the simplest form) and `person_ids`; person_create with
    `generate` creates people. Returns immediately with `ok: true`, `dispatch.ask_id` and the new ids in
    `dispatch.participant_ids`, or with `wait: true` when all have finished. While participants run,
    `next_action` is the next call. If the wait times out (`error_kind` "wait_timeout"), the runs continue:
    follow next_action. Do not call ask_run again, which asks all people a second time. Results: ask_get; next
    round with the same people: ask_round; cancel: simulation_cancel with `ask_id`.
    """
    body = body_of(request, AskRunRequest)
    timeout_s = timeout_of(call.service, body)
    repeated = once("/v1/asks", request.idempotency_key, body)
    dispatch = await run_in_threadpool(run_ask, call.service, call.workspace_id, body, repeated)
    return await call.dispatch_response(dispatch, timeout_s, wait=body.wait)


@tool("Ask the same people again", Tier.LONG_RUNNING, "ask", "dispatch")
async def ask_round(call: Call, request: AskRoundArguments) -> RunStudyResponse:
    """Ask the people of an ask again in a new round; an ask has at most five rounds.

    Omitted arguments keep their values from the previous round; usually you give new `variants`. Returns the
    same as ask_run. After a wait that times out, follow next_action. Do not call ask_round again, which opens
    another round. ask_get returns the changes between rounds.
    """
    body = body_of(request, AskRoundRequest)
    timeout_s = timeout_of(call.service, body)
    repeated = once(f"/v1/asks/{request.ask_id}/rounds", request.idempotency_key, body)
    dispatch = await run_in_threadpool(run_round, call.service, call.workspace_id, request.ask_id, body, repeated)
    return await call.dispatch_response(dispatch, timeout_s, wait=body.wait)


@tool("Get asks", Tier.READ_ONLY, "ask", "read")
def ask_get(call: Call, request: AskGetArguments) -> AskAnswer | Page[Ask]:
    """Get the results of one ask; omit `ask_id` to list all asks.

    `view` "summary" (the default) has picks, winner or tie, ratings and failures by round, and the changes
    between rounds. "per_participant" adds a page of people with their answers; "full" also adds the whole
    texts. `cursor` and `limit` page these two views and the list; `next_cursor` is null on the last page.
    """
    if request.ask_id is None:
        return list_asks(call.service, call.workspace_id, request.cursor, request.limit)
    view, cursor, limit = request.view, request.cursor, request.explicit_limit
    return get_ask(call.service, call.workspace_id, request.ask_id, view, cursor, limit)
