"""Serves asks over REST."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from understudy.envelopes.asks import Ask
from understudy.envelopes.base import Page
from understudy.envelopes.simulations import RunStudyResponse
from understudy.operations.requests import DEFAULT_PAGE, AskRoundRequest, AskRunRequest, AskView
from understudy.rest.inputs import Cursor, IdempotencyKey, IdInPath, Limit, LimitIfAny, TheService, Workspace
from understudy.rest.simulations import DISPATCH_ANSWERS, DispatchContextDep
from understudy.service.ask_results import AskAnswer, get_ask, list_asks
from understudy.service.asks import run_ask, run_round
from understudy.service.response import timeout_of

router = APIRouter(tags=["asks"])


@router.post("/asks", status_code=202, summary="ask_run", responses=DISPATCH_ANSWERS)
async def ask_run(body: AskRunRequest, caller: DispatchContextDep, key: IdempotencyKey = None) -> RunStudyResponse:
    """Asks people to pick one of several texts: creates the ask and dispatches its first round."""
    timeout_s = timeout_of(caller.service, body)
    once = caller.once(key, body)
    dispatch = await run_in_threadpool(run_ask, caller.service, caller.workspace_id, body, once)
    return await caller.dispatch_response(dispatch, timeout_s, wait=body.wait)


@router.post("/asks/{ask_id}/rounds", status_code=202, summary="ask_round", responses=DISPATCH_ANSWERS)
async def ask_round(
    ask_id: IdInPath,
    caller: DispatchContextDep,
    body: AskRoundRequest | None = None,
    key: IdempotencyKey = None,
) -> RunStudyResponse:
    """Asks the same people again, with other texts or another question; at most five rounds."""
    request = body or AskRoundRequest()
    timeout_s = timeout_of(caller.service, request)
    once = caller.once(key, request)
    dispatch = await run_in_threadpool(run_round, caller.service, caller.workspace_id, ask_id, request, once)
    return await caller.dispatch_response(dispatch, timeout_s, wait=request.wait)


@router.get("/asks", summary="ask_get (list)")
def ask_list(
    service: TheService, workspace: Workspace, cursor: Cursor = None, limit: Limit = DEFAULT_PAGE
) -> Page[Ask]:
    """Lists asks in order of creation."""
    return list_asks(service, workspace, cursor, limit)


@router.get("/asks/{ask_id}", summary="ask_get")
def ask_get(
    ask_id: IdInPath,
    service: TheService,
    workspace: Workspace,
    view: AskView = "summary",
    cursor: Cursor = None,
    limit: LimitIfAny = None,
) -> AskAnswer:
    """Returns the results of an ask: `summary` has the counts by round and the changes between rounds.

    `per_participant` adds a page of people and their answers; `full` also adds the whole texts and the
    settings. `cursor` and `limit` apply to these two.
    """
    return get_ask(service, workspace, ask_id, view, cursor, limit)
