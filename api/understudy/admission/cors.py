"""Lets pages of the listed origins call the API from a browser (CORS)."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from understudy.admission.request_id import HEADER
from understudy.domain.web_origins import parse_origins
from understudy.settings import Settings

_METHODS = ("GET", "POST", "DELETE")
#: Headers that callers of REST and MCP send, besides those that browsers always allow.
_REQUEST_HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", HEADER, "traceparent"),
    *("Mcp-Session-Id", "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name"),
)
#: Headers of answers that scripts may read.
_EXPOSED_HEADERS = (
    *("Location", "Retry-After", HEADER, "WWW-Authenticate", "Content-Disposition", "Allow", "Mcp-Session-Id"),
)
#: Seconds for which a browser remembers the answer to a preflight.
_MAX_AGE_S = 600


def install_cors(app: FastAPI, settings: Settings) -> None:
    """Wraps everything, error answers included, if there are origins to allow.

    Without credentials: callers send tokens, and cookies mean nothing here.
    """
    origins = parse_origins(settings.cors_origins)
    if not origins:
        return
    build = app.build_middleware_stack

    def build_with_cors() -> ASGIApp:
        # `add_middleware` would put it inside the handler of unexpected errors: a page could not read a 500.
        return CORSMiddleware(
            build(),
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
            max_age=_MAX_AGE_S,
        )

    app.build_middleware_stack = build_with_cors  # type: ignore[method-assign]
