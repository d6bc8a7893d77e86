"""The ASGI app at `/mcp`: whose session it is, who has hung up, and how streams end."""

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
from understudy.mcp.server import create_server
from understudy.service import Service

log = logging.getLogger(__name__)

#: A session without any request for so long is closed; its client opens another one.
SESSION_IDLE_S = 30 * 60
#: Open sessions of a process, and of one workspace in it: one cannot take the room of all.
MAX_SESSIONS = 2_000
MAX_SESSIONS_OF_ONE = 500

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Sessions(StreamableHTTPSessionManager):
    """The SDK's sessions, with a bound for each workspace."""

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        theirs = sum(owner == requestor for owner in self._session_owners.values())
        return None if theirs >= MAX_SESSIONS_OF_ONE else super()._admit_session(requestor)


class McpApp:
    """Serves MCP to whom the gate let in. Run it for as long as it is to serve."""

    def __init__(self, service: Service) -> None:
        self._origins = frozenset(map(str.strip, service.settings.allowed_origins.split(",")))
        self._sessions = Sessions(
            create_server(service),
            session_idle_timeout=SESSION_IDLE_S,
            max_sessions=MAX_SESSIONS,
            max_request_body_size=MAX_PEOPLE_BODY,
        )
        self._streams: set[asyncio.Task[None]] = set()
        # It would cut off whoever waits as soon as the process is told to go, before they are answered.
        AppStatus.enable_automatic_graceful_drain = False

    def run(self) -> AbstractAsyncContextManager[None]:
        """Serve throughout the block; all sessions end with it."""
        return self._sessions.run()

    def close_streams(self) -> None:
        """End the streams on which clients wait for nothing in particular: this process is told to go."""
        for stream in self._streams:
            stream.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if not self._is_allowed(request.headers.get("origin")):
            error = ValidationError("Pages of this origin may not talk to this server.")
            await error_response(request, error, http_status=403)(scope, receive, send)
            return
        # A session belongs to the workspace that opened it: to others it does not exist.
        workspace = AccessToken(token="", client_id=str(request.state.workspace_id), scopes=[])
        scope["user"] = AuthenticatedUser(workspace)
        hangup = scope["state"]["hangup"] = asyncio.Event()
        try:
            if scope["method"] == "GET":
                await self._stream(scope, receive, send)
            else:
                await self._sessions.handle_request(scope, receive, send)
        finally:
            # Answered or gone: in either case nobody is there any more.
            hangup.set()

    def _is_allowed(self, origin: str | None) -> bool:
        """May a page of this origin talk to us? Programs name none. No page has a token of itself, so this is
        a second lock against pages that reach servers on their reader's machine."""
        return origin is None or origin in self._origins or urlsplit(origin).hostname in _LOOPBACK

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a stream until its client leaves or `close_streams`; it then ends as a whole answer."""
        begun = ended = False

        async def send_on(message: Message) -> None:
            nonlocal begun, ended
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        stream = asyncio.create_task(self._sessions.handle_request(scope, receive, send_on))
        self._streams.add(stream)
        try:
            await asyncio.wait({stream})
            if stream.cancelled():
                if begun and not ended:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                stream.result()
        finally:
            stream.cancel()
            self._streams.discard(stream)
