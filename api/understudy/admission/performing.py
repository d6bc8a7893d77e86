"""Performs an operation for an interface: calls its handler, and waits if the caller asked for it."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from starlette.concurrency import run_in_threadpool

from understudy.domain.roles import check_role
from understudy.envelopes.base import Envelope
from understudy.envelopes.simulations import Dispatch, RunFailure, RunSuccess
from understudy.operations.operation import Operation
from understudy.operations.requests import DEFAULT_WAIT_S
from understudy.service.call import Call
from understudy.service.handlers import ASYNC_HANDLERS, HANDLERS, Pending
from understudy.service.response import build_response, wait_and_build_response

Rendered = TypeVar("Rendered")

#: Awaits the response for an interface; raises an exception of its own if the caller is gone before.
Hold: TypeAlias = Callable[[Dispatch, Awaitable[RunSuccess | RunFailure]], Awaitable[RunSuccess | RunFailure]]


async def perform(
    call: Call, operation: Operation, request: Any, hold: Hold, render: Callable[[Envelope], Rendered]
) -> Rendered:
    """Returns the rendered answer of `operation`. Raises UnderstudyError, and what `hold` raises.

    Every interface calls it, so it checks the role of the token. The end of a wait never cancels what was dispatched.
    A wait too many is refused before anything is dispatched. A wait ends soon after its token was revoked.
    """
    check_role(call.role, operation.role, operation.name)
    if not _waits(operation, request):
        return await _perform(call, operation, request, hold, render)
    async with call.service.limits.hold(call.workspace_id, "waits"):
        return await _perform(call, operation, request, hold, render)


def _waits(operation: Operation, request: Any) -> bool:
    """Returns whether the caller asks to wait."""
    options = (request, getattr(request, "run", None))
    return operation.name in ASYNC_HANDLERS or any(getattr(option, "wait", False) for option in options)


async def _perform(
    call: Call, operation: Operation, request: Any, hold: Hold, render: Callable[[Envelope], Rendered]
) -> Rendered:
    if handler := ASYNC_HANDLERS.get(operation.name):
        pending = await handler(call, request)
    else:

        def answer() -> Pending | Rendered:
            # Large answers are rendered here too: that would block the event loop.
            result = HANDLERS[operation.name](call, request)
            if not isinstance(result, Pending):
                return render(result)
            return result if result.wait else render(result.complete(_response(call, result)))

        result = await run_in_threadpool(answer)
        if not isinstance(result, Pending):
            return result
        pending = result
    waiting = wait_and_build_response(call.service, call.workspace_id, pending.dispatch, pending.timeout_s)
    if call.credential is not None:
        waiting = call.service.credentials.hold(call.credential._replace(role=operation.role), waiting)
    return render(pending.complete(await hold(pending.dispatch, waiting)))


def _response(call: Call, pending: Pending) -> RunSuccess:
    timeout_s = min(DEFAULT_WAIT_S, call.service.settings.max_wait_s)
    return build_response(call.service, call.workspace_id, pending.dispatch, timeout_s)
