"""A name for each request, by which its lines are found in the logs of all processes."""

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.telemetry import logs

HEADER = "X-Request-ID"
#: What callers and proxies may name a request; anything else is given a new name.
_GOOD = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class RequestIdMiddleware:
    """ASGI middleware, the outermost one. The name is the caller's `X-Request-ID`, else a new one; the answer
    tells it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if _GOOD.fullmatch(given) else uuid4().hex
        # For good: each request has a context of its own, and what breaks is told outside of here.
        logs.bind(request_id=name)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        await self._app(scope, receive, send_on)
