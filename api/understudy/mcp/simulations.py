"""The MCP tools for simulations: cancel, extend and wait."""

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

_EXACTLY_ONE_SCOPE = {"oneOf": [{"required": [scope]} for scope in SCOPES], "dependentRequired": {"round": ["ask_id"]}}


@tool("Cancel simulations", Tier.WRITE, "simulation", "write", extra_schema=_EXACTLY_ONE_SCOPE)
def simulation_cancel(call: Call, request: CancelRequest) -> CancelEnvelope:
    """Cancel pending or running simulations: the "stop" half of the reversible pair cancel and extend.

    Set exactly one scope: `participant_id` (that one), `study_id` (all of the study), `iteration_id` (all
    of the iteration) or `ask_id` (all of the ask, or with `round` those of one round). It deletes nothing:
    interactions stay, and simulation_extend continues from the last interaction of a cancelled participant.
    The cancel is final when this returns; you can repeat the call safely. Returns `cancelled` (each with
    `success`; if it is false, `status` holds the error as "[code] message"), `skipped` with reasons (terminal
    participants need no cancel), and `summary` with counts. See docs_get("concepts/cancelling-a-simulation").
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

    The source must be completed, failed or cancelled; cancel a running one first. A new participant continues
    from the source's last interaction, with `additional_steps` interactions beyond the source's cap; the
    source does not change. `instruction` overrides the direction for the rest of the run, such as "Stop
    browsing - switch to the German picker." Returns `ok: true` with the new id in `dispatch.participant_ids`
    immediately, or with `wait: true` when it has finished. While it runs, `next_action` is the next call. If
    the wait times out (`error_kind` "wait_timeout"), the run continues: follow next_action. Do not extend
    again, which creates another participant. See docs_get("concepts/extending-a-simulation").
    """
    body = body_of(request, ExtendRequest)
    timeout_s = timeout_of(call.service, body)
    repeated = once("/v1/simulations/extend", request.idempotency_key, body)
    dispatch = await run_in_threadpool(extend, call.service, call.workspace_id, body.participant_id, body, repeated)
    return await call.dispatch_response(dispatch, timeout_s, wait=body.wait)


@tool("Wait for simulations", Tier.READ_ONLY, "simulation", "read")
async def simulation_wait(call: Call, request: WaitRequest) -> RunStudyResponse:
    """Wait until all of these participants are completed, failed or cancelled, or `timeout` seconds pass.

    A wait changes nothing, and its end cancels nothing. Returns `ok: true` with the final states in
    `participants`, or `ok: false` with `error_kind` "wait_timeout", the finished count in `progress`, and in
    `next_action` the call that continues the wait. Reports progress during the wait. If your client allows
    only short calls, use a short `timeout` and follow next_action until there is none. See
    docs_get("reference/long-running-jobs").
    """
    timeout_s = timeout_of(call.service, request)
    dispatch = await resolve_wait(call.service, call.workspace_id, request.participant_ids)
    return await call.dispatch_response(dispatch, timeout_s, wait=True)
