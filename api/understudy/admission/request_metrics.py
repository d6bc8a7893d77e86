"""Counting and timing requests."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.telemetry import metrics
from understudy.telemetry.exporter import OTHER

#: Paths outside of `/v1` that are counted by name.
_PATHS = frozenset({"/mcp", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"})
#: nginx's number for an answer that nobody waits for.
_CLIENT_GONE = 499
_BROKEN = 500


class RequestMetricsMiddleware:
    """ASGI middleware, the outermost one: what it counts is what callers see."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Shared by all who copy the scope on the way: the check of the query leaves the route here.
        scope.setdefault("state", {})
        began, status = time.perf_counter(), _CLIENT_GONE

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                metrics.request_seconds.labels(route_of(scope)).observe(time.perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception:
            # Answered outside of here; what has begun stays what it was.
            status = status if status != _CLIENT_GONE else _BROKEN
            raise
        finally:
            metrics.requests.labels(route_of(scope), status).inc()


def route_of(scope: Scope) -> str:
    """The path as it is declared: as many values as there are routes, whatever is asked for.

    Known once the request was answered.
    """
    path: str = scope["path"]
    return scope.get("state", {}).get("route") or (path if path in _PATHS else OTHER)
