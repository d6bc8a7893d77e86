"""The ASGI app at `/mcp`: session ownership, disconnects and the end of streams."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import urlsplit

from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, AuthorizationContext
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from understudy.admission.errors import error_response
from understudy.admission.middleware import MAX_PEOPLE_BODY
from understudy.domain.errors import ValidationError
from understudy.domain.web_origins import parse_origins
from understudy.mcp.server import create_server
from understudy.service import Service

log = logging.getLogger(__name__)

#: Seconds without a request after which a session is closed; its client opens another one.
SESSION_IDLE_S = 30 * 60
#: Maximum open sessions of a process, and of one workspace in it: no workspace can use all of them.
MAX_SESSIONS = 2_000
MAX_SESSIONS_OF_ONE = 500

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Sessions(StreamableHTTPSessionManager):
    """The SDK's sessions, with a maximum per workspace."""

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        open_count = sum(owner == requestor for owner in self._session_owners.values())
        return None if open_count >= MAX_SESSIONS_OF_ONE else super()._admit_session(requestor)


class McpApp:
    """Serves MCP to authenticated requests, inside the block of `run`."""

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._credentials = service.credentials
        self._origins = {*map(str.strip, settings.allowed_origins.split(",")), *parse_origins(settings.cors_origins)}
        self._sessions = Sessions(
            create_server(service),
            session_idle_timeout=SESSION_IDLE_S,
            max_sessions=MAX_SESSIONS,
            max_request_body_size=MAX_PEOPLE_BODY,
        )
        self._streams: set[asyncio.Task[None]] = set()
        # The drain would end waiting calls at the start of a shutdown, before their responses are sent.
        AppStatus.enable_automatic_graceful_drain = False

    def run(self) -> AbstractAsyncContextManager[None]:
        """Serves during the block; its end closes all sessions."""
        return self._sessions.run()

    def close_streams(self) -> None:
        """Ends the idle streams of clients at the shutdown of this process."""
        for stream in self._streams:
            stream.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if not self._is_allowed(request.headers.get("origin")):
            error = ValidationError("This origin is not allowed. Add it to UNDERSTUDY_CORS_ORIGINS.")
            await error_response(request, error, http_status=403)(scope, receive, send)
            return
        # A session belongs to the workspace that opened it; other workspaces cannot find it.
        workspace = AccessToken(token="", client_id=str(request.state.workspace_id), scopes=[])
        scope["user"] = AuthenticatedUser(workspace)
        disconnected = scope["state"]["disconnected"] = asyncio.Event()
        try:
            if scope["method"] == "GET":
                await self._stream(_without_resumption(scope), receive, send)
            else:
                await self._sessions.handle_request(scope, receive, send)
        finally:
            # The response is sent or the client disconnected: no client waits any more.
            disconnected.set()

    def _is_allowed(self, origin: str | None) -> bool:
        """Returns True for an allowed origin, or for none: programs send none. Tokens already keep pages out;
        this is the second defence against pages that call servers on their reader's machine."""
        if origin is None or origin in self._origins:
            return True
        try:
            return urlsplit(origin).hostname in _LOOPBACK
        except ValueError:
            return False

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a stream until its client disconnects, its token ends or `close_streams`; completes the response."""
        started = ended = False

        async def forward(message: Message) -> None:
            nonlocal started, ended
            started = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        stream = asyncio.create_task(self._sessions.handle_request(scope, receive, forward))
        self._streams.add(stream)
        try:
            with self._credentials.watch(scope["state"]["credential"]) as watched:
                watched.when_over(stream.cancel)
                await asyncio.wait({stream})
            if stream.cancelled():
                if started and not ended:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                stream.result()
        finally:
            stream.cancel()
            self._streams.discard(stream)


def _without_resumption(scope: Scope) -> Scope:
    """Returns the request without `Last-Event-ID`: streams are not stored, so each one starts now."""
    headers = [header for header in scope["headers"] if header[0] != b"last-event-id"]
    return {**scope, "headers": headers}
