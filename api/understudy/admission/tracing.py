"""Records a span for each request."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.admission.request_metrics import route_of
from understudy.telemetry import traces


class TracingMiddleware:
    """ASGI middleware: records a span for each request, as a child of its `traceparent`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Probes of health and metrics would outnumber all other traces.
        path = scope.get("path", "")
        is_traced = scope["type"] == "http" and (path.startswith("/v1/") or path.rstrip("/") == "/mcp")
        if not is_traced or not traces.is_enabled():
            await self._app(scope, receive, send)
            return
        with traces.span(scope["method"], "server", Headers(scope=scope)) as update_span:

            async def send_on(message: Message) -> None:
                if message["type"] == "http.response.start":
                    update_span(
                        {"http.response.status_code": message["status"]},
                        f"{scope['method']} {route_of(scope)}",
                    )
                await send(message)

            await self._app(scope, receive, send_on)
