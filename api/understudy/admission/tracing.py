"""Spans of requests."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.admission.request_metrics import route_of
from understudy.telemetry import traces


class TracingMiddleware:
    """ASGI middleware: a span for each request, as a part of what its `traceparent` names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Looks at health and metrics would be most of all traces.
        told = scope["type"] == "http" and (scope["path"].startswith("/v1/") or scope["path"] == "/mcp")
        if not told or not traces.is_enabled():
            await self._app(scope, receive, send)
            return
        with traces.span(scope["method"], "server", Headers(scope=scope)) as tell:

            async def send_on(message: Message) -> None:
                if message["type"] == "http.response.start":
                    tell(
                        {"http.response.status_code": message["status"]},
                        f"{scope['method']} {route_of(scope)}",
                    )
                await send(message)

            await self._app(scope, receive, send_on)
