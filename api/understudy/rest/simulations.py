"""Serves run, cancel, extend and wait over REST."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from understudy.admission.errors import ClientDisconnected
from understudy.domain.cancellation import CancelScope, parse_scope
from understudy.domain.errors import ERROR_RULES
from understudy.envelopes.simulations import CancelEnvelope, Dispatch, RunFailure, RunStudyResponse, RunSuccess
from understudy.operations.requests import (
    CancelRequest,
    EmptyRequest,
    ExtendOptions,
    ExtendRequest,
    StudyRunRequest,
    WaitRequest,
)
from understudy.operations.requests import Request as Body
from understudy.rest.inputs import IdempotencyKey, IdInPath, TheService, Workspace
from understudy.service import Service
from understudy.service.cancel import cancel
from understudy.service.dispatching import IdempotentRequest, extend, resolve_wait, run_study
from understudy.service.response import build_response, timeout_of, wait_and_build_response

router = APIRouter(tags=["simulations"])

Result = TypeVar("Result")

_Answers: TypeAlias = dict[int | str, dict[str, Any]]
#: Answers of these endpoints besides their usual status; all failures have the same form.
_FAILURES: _Answers = {code: {"model": RunFailure} for code in (400, 401, 404, 409, 413, 422, 500, 503)}
DISPATCH_ANSWERS: _Answers = {200: {"model": RunStudyResponse}, **_FAILURES}
WAIT_ANSWERS: _Answers = {202: {"model": RunStudyResponse}, **_FAILURES}


class DispatchContext(NamedTuple):
    """The service, workspace and connection of a dispatching request."""

    service: Service
    workspace_id: UUID
    request: Request
    response: Response

    async def dispatch_response(self, dispatch: Dispatch, timeout_s: float, *, wait: bool) -> RunStudyResponse:
        """Returns the answer at once, or with `wait` when all are terminal or the wait has timed out."""
        if not wait:
            return await run_in_threadpool(build_response, self.service, self.workspace_id, dispatch, timeout_s)
        waiting = wait_and_build_response(self.service, self.workspace_id, dispatch, timeout_s)
        result = await self._while_connected(waiting)
        timeout_status = ERROR_RULES["wait_timeout"].http_status
        self.response.status_code = 200 if isinstance(result, RunSuccess) else timeout_status
        return result

    def once(self, key: str | None, body: Body) -> IdempotentRequest | None:
        """Returns the identity that detects a repetition of this request; None without a key."""
        return None if key is None else IdempotentRequest.of(self.request.url.path, key, body)

    async def _while_connected(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Returns the result of `work`. A disconnect cancels `work` and raises ClientDisconnected."""
        working = asyncio.create_task(work)
        disconnecting = asyncio.create_task(self._disconnected())
        try:
            await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnected
            return working.result()
        finally:
            working.cancel()
            disconnecting.cancel()

    async def _disconnected(self) -> None:
        # The body has been read: the only message left is the disconnect.
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


async def _caller(request: Request, response: Response, service: TheService, workspace: Workspace) -> DispatchContext:
    return DispatchContext(service, workspace, request, response)


DispatchContextDep = Annotated[DispatchContext, Depends(_caller)]


@router.post("/studies/{study_id}/run", status_code=202, summary="study_run", responses=DISPATCH_ANSWERS)
async def study_run(
    study_id: IdInPath, body: StudyRunRequest, caller: DispatchContextDep, key: IdempotencyKey = None
) -> RunStudyResponse:
    """Creates one participant per person and dispatches them."""
    timeout_s = timeout_of(caller.service, body)
    once = caller.once(key, body)
    dispatch = await run_in_threadpool(run_study, caller.service, caller.workspace_id, study_id, body, once)
    return await caller.dispatch_response(dispatch, timeout_s, wait=body.wait)


@router.post("/simulations/cancel", summary="simulation_cancel")
def simulation_cancel(body: CancelRequest, service: TheService, workspace: Workspace) -> CancelEnvelope:
    """Cancels the active participants of exactly one scope. Their interactions stay; you can extend them."""
    scope = parse_scope(
        participant_id=body.participant_id,
        study_id=body.study_id,
        iteration_id=body.iteration_id,
        ask_id=body.ask_id,
        round_number=body.round,
    )
    return cancel(service, workspace, scope)


@router.post("/participants/{participant_id}/cancel", summary="simulation_cancel (one)")
def participant_cancel(
    participant_id: IdInPath,
    service: TheService,
    workspace: Workspace,
    body: EmptyRequest | None = None,  # noqa: ARG001 - so that fields in the body are refused
) -> CancelEnvelope:
    """Runs `simulation_cancel` with this participant as its scope."""
    return cancel(service, workspace, CancelScope("participant_id", participant_id, None))


@router.post("/simulations/extend", status_code=202, summary="simulation_extend", responses=DISPATCH_ANSWERS)
async def simulation_extend(
    body: ExtendRequest, caller: DispatchContextDep, key: IdempotencyKey = None
) -> RunStudyResponse:
    """Creates a participant that continues from a terminal one; the source does not change."""
    return await _extend(body.participant_id, body, caller, key)


@router.post(
    "/participants/{participant_id}/extend",
    status_code=202,
    summary="simulation_extend (one)",
    responses=DISPATCH_ANSWERS,
)
async def participant_extend(
    participant_id: IdInPath,
    caller: DispatchContextDep,
    body: ExtendOptions | None = None,
    key: IdempotencyKey = None,
) -> RunStudyResponse:
    """Runs `simulation_extend` with this participant as its source."""
    return await _extend(participant_id, body or ExtendOptions(), caller, key)


async def _extend(source: str, options: ExtendOptions, caller: DispatchContext, key: str | None) -> RunStudyResponse:
    timeout_s = timeout_of(caller.service, options)
    once = caller.once(key, options)
    dispatch = await run_in_threadpool(extend, caller.service, caller.workspace_id, source, options, once)
    return await caller.dispatch_response(dispatch, timeout_s, wait=options.wait)


@router.post("/simulations/wait", summary="simulation_wait", responses=WAIT_ANSWERS)
async def simulation_wait(body: WaitRequest, caller: DispatchContextDep) -> RunStudyResponse:
    """Waits until all participants are terminal or `timeout` passes; the runs continue either way."""
    timeout_s = timeout_of(caller.service, body)
    dispatch = await resolve_wait(caller.service, caller.workspace_id, body.participant_ids)
    return await caller.dispatch_response(dispatch, timeout_s, wait=True)
