"""Gives each request an id that all its log lines carry, in every process."""

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.telemetry import logs

HEADER = "X-Request-ID"
#: Request ids that callers and proxies may choose; any other value is replaced by a new id.
_VALID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class RequestIdMiddleware:
    """ASGI middleware, the outermost one. Takes the id from the caller's `X-Request-ID` or creates one; the
    response repeats it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        requested = Headers(scope=scope).get(HEADER, "")
        request_id = requested if _VALID.fullmatch(requested) else uuid4().hex
        # Never unbound: each request has its own context, and outer code logs exceptions with this id.
        logs.bind(request_id=request_id)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_on)
