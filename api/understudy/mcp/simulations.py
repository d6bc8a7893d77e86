"""The tools of what runs: cancel, extend, wait."""

from starlette.concurrency import run_in_threadpool

from understudy.domain.cancellation import SCOPES, parse_scope
from understudy.envelopes.simulations import CancelEnvelope, RunStudyResponse
from understudy.mcp.arguments import ExtendArguments, body_of, once
from understudy.mcp.tool import Tier, tool
from understudy.mcp.tool_call import Call
from understudy.operations.requests import CancelRequest, ExtendRequest, WaitRequest
from understudy.service.cancel import cancel
from understudy.service.dispatching import extend, resolve_wait
from understudy.service.response import timeout_of

_EXACTLY_ONE_SCOPE = {
    "oneOf": [{"required": [scope]} for scope in SCOPES],
    "dependentRequired": {"round": ["ask_id"]},
}


@tool("Cancel simulations", Tier.WRITE, "simulation", "write", more_schema=_EXACTLY_ONE_SCOPE)
def simulation_cancel(call: Call, request: CancelRequest) -> CancelEnvelope:
    """Stop queued or running simulations: the "stop" half of the reversible pair cancel and extend.

    Set exactly one scope: `participant_id` (that one), `study_id` (all of the study), `iteration_id` (all
    of the iteration) or `ask_id` (all of the ask, or with `round` those of one round). Nothing is deleted:
    what participants did stays, and simulation_extend takes a cancelled one up again from its last
    interaction. When this returns, the cancel is final; calling it again is safe. Returns `cancelled` (each
    with `success`; where that is false, `status` holds the error as "[code] message"), `skipped` with
    reasons (those already terminal need nothing), and `summary` with counts. See
    docs_get("concepts/cancelling-a-simulation").
    """
    scope = parse_scope(
        participant_id=request.participant_id,
        study_id=request.study_id,
        iteration_id=request.iteration_id,
        ask_id=request.ask_id,
        round_number=request.round,
    )
    return cancel(call.service, call.workspace_id, scope)


@tool("Extend a simulation", Tier.LONG_RUNNING, "dispatch", "simulation")
async def simulation_extend(call: Call, request: ExtendArguments) -> RunStudyResponse:
    """Resume a terminal participant: the "start" half of the reversible pair cancel and extend.

    The source must be completed, failed or cancelled; cancel a running one first. A new participant goes on
    from the source's last interaction, with `additional_steps` more interactions past the original cap; the
    source stays as it is. `instruction` is overriding direction for the rest of the run, such as "Stop
    browsing - switch to the German picker." Returns `ok: true` with the one new id in
    `dispatch.participant_ids`, at once, or with `wait: true` when it is through. While it runs,
    `next_action` is the call to make next. If the wait runs out (`error_kind` "wait_timeout") the run goes
    on: follow next_action, and do not extend again, which would make another one. See
    docs_get("concepts/extending-a-simulation").
    """
    body = body_of(request, ExtendRequest)
    timeout_s = timeout_of(call.service, body)
    repeated = once("/v1/simulations/extend", request.idempotency_key, body)
    dispatch = await run_in_threadpool(
        extend, call.service, call.workspace_id, body.participant_id, body, repeated
    )
    return await call.dispatch_response(dispatch, timeout_s, wait=body.wait)


@tool("Wait for simulations", Tier.READ_ONLY, "simulation", "read")
async def simulation_wait(call: Call, request: WaitRequest) -> RunStudyResponse:
    """Wait until all of these participants are completed, failed or cancelled, or `timeout` seconds pass.

    Waiting changes nothing, and giving up waiting stops nothing. Returns `ok: true` with how each ended in
    `participants`; or `ok: false` with `error_kind` "wait_timeout", how many are done in `progress`, and in
    `next_action` the call that waits on. Reports progress meanwhile. If your client allows only short
    calls, use a short `timeout` and follow next_action as often as it takes. See
    docs_get("reference/long-running-jobs").
    """
    timeout_s = timeout_of(call.service, request)
    dispatch = await resolve_wait(call.service, call.workspace_id, request.participant_ids)
    return await call.dispatch_response(dispatch, timeout_s, wait=True)
