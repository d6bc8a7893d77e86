"""Ends waits and streams soon after their token was revoked, or lost the role that they need.

One read every CHECK_INTERVAL_S serves all of them in a process, however many there are. The runs go on.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from understudy.domain.errors import AuthFailed
from understudy.domain.roles import Role
from understudy.service.coalesced_reads import run_with_timeout
from understudy.service.executors import shutdown_executors
from understudy.store.engine import Store
from understudy.store.workspaces import ValidTokens, find_valid_tokens
from understudy.telemetry.outages import OutageLog

log = logging.getLogger(__name__)

#: Seconds between two checks while there are waits or streams.
CHECK_INTERVAL_S = 2.0
#: Timeout of a check in seconds.
READ_TIMEOUT_S = 15

Result = TypeVar("Result")


class Credential(NamedTuple):
    """The token or ticket that opened a wait or a stream."""

    token_id: UUID
    #: Least role that the call needs.
    role: Role = Role.VIEWER
    #: End of a ticket by the store's clock; None for a token.
    expires_at: datetime | None = None

    def is_valid(self, tokens: ValidTokens) -> bool:
        role = tokens.roles.get(self.token_id)
        return role is not None and role.may(self.role) and (self.expires_at is None or tokens.now < self.expires_at)


class Watched:
    """One call whose credential is watched."""

    def __init__(self) -> None:
        #: Whether the credential is no longer valid; stays set.
        self.is_over = False
        self._calls: list[Callable[[], object]] = []

    def when_over(self, call: Callable[[], object]) -> None:
        """Calls `call` on the event loop when the credential is no longer valid."""
        self._calls.append(call)

    def end(self) -> None:
        self.is_over = True
        for call in self._calls:
            call()


class CredentialWatch:
    """Watches the credentials of all waits and streams of a process. Belongs to one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Thousands of calls share a few credentials: each of these is checked once.
        self._watched: dict[Credential, set[Watched]] = {}
        self._task: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(1, "credentials")
        self._outages = OutageLog(log, "store")

    async def close(self) -> None:
        """Stops the checks. Watch nothing after it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await shutdown_executors(self._threads)

    @contextlib.contextmanager
    def watch(self, credential: Credential) -> Iterator[Watched]:
        """Checks the credential during the block. While the store is unavailable it counts as valid."""
        watched = Watched()
        self._watched.setdefault(credential, set()).add(watched)
        if self._task is None:
            self._task = asyncio.create_task(self._check_loop())
        try:
            yield watched
        finally:
            calls = self._watched.get(credential, set())
            calls.discard(watched)
            if not calls:
                self._watched.pop(credential, None)

    async def hold(self, credential: Credential, work: Awaitable[Result]) -> Result:
        """Returns the result of `work`. Cancels it and raises AuthFailed when the credential ends before."""
        with self.watch(credential) as watched:
            working = asyncio.ensure_future(work)
            watched.when_over(working.cancel)
            try:
                await asyncio.wait({working})
                if working.cancelled() and watched.is_over:
                    raise AuthFailed(
                        "The token was revoked or lost its role during the call. The run continues.",
                        suggestions=("Continue with another token of the workspace.",),
                    )
                return working.result()
            finally:
                working.cancel()

    async def _check_loop(self) -> None:
        while self._watched:
            await asyncio.sleep(CHECK_INTERVAL_S)
            credentials = list(self._watched)
            token_ids = list({credential.token_id for credential in credentials})
            try:
                tokens = await run_with_timeout(self._threads, READ_TIMEOUT_S, self._read, token_ids)
            except Exception as error:  # noqa: BLE001 - the next check decides; if this task ended, no call would end
                self._outages.failed(error, "waits and streams go on unchecked")
                continue
            self._outages.succeeded()
            for credential in credentials:
                if not credential.is_valid(tokens):
                    for watched in self._watched.pop(credential, ()):
                        watched.end()
        self._task = None

    def _read(self, token_ids: Sequence[UUID]) -> ValidTokens:
        with self._store.read() as connection:
            return find_valid_tokens(connection, token_ids)
