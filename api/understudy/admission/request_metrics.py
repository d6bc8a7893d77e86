"""Counts, times and logs requests."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.telemetry import metrics
from understudy.telemetry.exporter import OTHER

log = logging.getLogger(__name__)

#: Paths that probes read every few seconds; they are not logged.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
#: Paths outside of `/v1` that are counted by name.
_PATHS = frozenset({"/mcp", "/mcp/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"})
_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})
#: nginx's status for a request whose client disconnected.
_CLIENT_CLOSED_REQUEST = 499
_INTERNAL_ERROR = 500


class RequestMetricsMiddleware:
    """ASGI middleware outside all checks: it counts the statuses that callers receive."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Inner middlewares copy the scope but share this dict; `check_query` stores the route in it.
        scope.setdefault("state", {})
        began, status = time.perf_counter(), _CLIENT_CLOSED_REQUEST

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                metrics.request_seconds.labels(route_of(scope)).observe(time.perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception:
            # Starlette answers with 500, unless the response has already started.
            status = status if status != _CLIENT_CLOSED_REQUEST else _INTERNAL_ERROR
            raise
        finally:
            metrics.requests.labels(route_of(scope), status).inc()
            if scope["path"] not in _PROBES:
                _log_request(scope, status, time.perf_counter() - began)


def _log_request(scope: Scope, status: int, duration_s: float) -> None:
    """Logs one line: the declared path, never the query or a header, which may have a token or a ticket."""
    state = scope.get("state", {})
    log.info(
        "request method=%s route=%s status=%d duration_ms=%d workspace=%s role=%s",
        scope["method"] if scope["method"] in _METHODS else OTHER,
        route_of(scope),
        status,
        round(duration_s * 1000),
        state.get("workspace_id", "-"),
        state.get("role", "-"),
    )


def route_of(scope: Scope) -> str:
    """Returns the declared path of the request, or OTHER: this bounds the number of label values.

    The path is known only once the request is answered.
    """
    path: str = scope["path"]
    return scope.get("state", {}).get("route") or (path if path in _PATHS else OTHER)
