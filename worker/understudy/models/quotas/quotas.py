"""Caps: how many may ask a model at a time, and how many tokens may be used, by all workers together.

Who asks now, and what was used, is kept in the broker's server. While that is away, each process lets in its
share of the calls and goes by what the store knows to be used.
"""

import asyncio
import contextlib
import logging
import random
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

import redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from understudy.domain.errors import ServiceUnavailable
from understudy.models import ModelFailed
from understudy.models.profiles import ModelSettings, model_settings
from understudy.models.quotas.scope import (
    ACQUIRE_SCRIPT,
    RECORD_SCRIPT,
    RENEW,
    RETENTION_S,
    QuotaScope,
    today,
)
from understudy.queue.redis_clients import connect_async
from understudy.store import leases, usage
from understudy.store.engine import Store

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: A place lasts so long; whoever asks for longer renews it. The places of a lost process are free after that.
SLOT_TTL_S = 15
_RENEW_S = 5
#: Longest wait for the broker's server, and for how long it is not asked again when it was away.
_TIMEOUT_S = 2
UNAVAILABLE_RETRY_S = 5
#: Between two looks for a free place, unless one gets free in this process.
_POLL_INTERVAL_S = 0.1


class ModelQuotas:
    """The caps of a fleet, as one process keeps them. All methods belong to the loop's thread."""

    def __init__(self, settings: ModelSettings, notices_url: str, store: Store) -> None:
        """Without a URL there is no server to count: it is as if it were away, and nobody is told so."""
        self._settings = settings
        self._notices_url = notices_url
        self._store = store
        self._redis: Any = None
        self._away_until = 0.0
        #: Who waits for a place in the same scopes waits in line: only the first one asks the server.
        self._lines: weakref.WeakValueDictionary[tuple[UUID, UUID], asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._left = asyncio.Event()
        #: Who asks now from this process.
        self._here: Counter[QuotaScope] = Counter()
        #: Tokens that the server was away for.
        self._owed: Counter[str] = Counter()
        self._known: dict[object, tuple[float, int]] = {}
        self._at_work: set[asyncio.Task[Any]] = set()
        #: By holder: what the server was asked in its name and has not answered.
        self._asking: dict[str, asyncio.Task[Any]] = {}

    def gate(self, workspace: UUID, study: UUID) -> "FleetQuota":
        """The gate of those who work for this workspace and study."""
        given = self._settings
        scopes = (
            QuotaScope("study", study, given.study_calls, given.study_tokens),
            QuotaScope("workspace", workspace, given.workspace_calls, given.workspace_tokens_per_day),
        )
        return FleetQuota(
            self, [scope for scope in scopes if scope.calls or scope.tokens], (workspace, study)
        )

    async def close(self) -> None:
        """End what is under way for those who have left, and the connections."""
        while self._at_work:
            await asyncio.wait(tuple(self._at_work))
        if self._redis is not None:
            await self._redis.aclose()

    @contextlib.asynccontextmanager
    async def acquire_slot(
        self, scopes: list[QuotaScope], wait_queue: tuple[UUID, UUID]
    ) -> AsyncIterator[None]:
        """A place in all of these scopes. Raises ModelFailed when tokens are used up."""
        holder = uuid4().hex
        renewing: asyncio.Task[None] | None = None
        entered = False
        try:
            async with self._lines.setdefault(wait_queue, asyncio.Lock()):
                await self._acquire(scopes, holder)
                entered = True
                self._here.update(scopes)
            renewing = asyncio.create_task(self._renew(scopes, holder))
            yield
        finally:
            if entered:
                self._here -= Counter(scopes)
            if renewing is not None:
                renewing.cancel()
            # Whoever is cancelled does not wait for it. What was asked of the server in its name comes first.
            self._start(self._release(scopes, holder, self._asking.get(holder)))

    async def record_tokens(self, scopes: list[QuotaScope], tokens: int) -> None:
        """Count tokens; what cannot be counted now is counted later. The store counts them in any case."""
        if not self._notices_url:
            return
        self._owed.update({scope.tokens_key: tokens for scope in scopes if scope.tokens})
        await asyncio.shield(self._start(self._flush_tokens()))

    def _start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Have it done, whoever is cancelled."""
        task = asyncio.create_task(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return task

    async def _flush_tokens(self) -> None:
        owed, self._owed = self._owed, Counter()
        if not owed:
            return
        if (
            await self._ask(lambda server: server.eval(RECORD_SCRIPT, len(owed), *owed, *owed.values()))
            is _UNAVAILABLE
        ):
            self._owed += owed

    async def _acquire(self, scopes: list[QuotaScope], holder: str) -> None:
        keys = [key for scope in scopes for key in (scope.calls_key, scope.tokens_key)]
        caps = [cap for scope in scopes for cap in (scope.calls, scope.tokens)]
        while True:
            self._left.clear()
            answer = await self._ask_for(
                holder,
                lambda server: server.eval(
                    ACQUIRE_SCRIPT, len(keys), *keys, holder, SLOT_TTL_S * 1000, *caps
                ),
            )
            try:
                if await self._is_admitted(answer, scopes):
                    return
            except ServiceUnavailable:
                # Nobody knows what is used; nothing could be stored either. Look again.
                log.debug("caps on language models: neither broker nor store answer")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_INTERVAL_S * random.uniform(0.75, 1.25)):  # noqa: S311
                    await self._left.wait()

    async def _is_admitted(self, answer: Any, scopes: list[QuotaScope]) -> bool:
        """May we ask, now that the server has given this answer? Raises ModelFailed, ServiceUnavailable."""
        if answer is _UNAVAILABLE:
            return await self._admit_by_local_share(scopes)
        code, number = map(int, answer)
        if code == -1:
            raise ModelFailed(scopes[number].exhausted_message)
        if code == -2:
            await self._count(scopes[number])
            self._left.set()
        return code == 1

    async def _count(self, scope: QuotaScope) -> None:
        """Have the server go on from what the store knows."""
        used, key = await self._used(scope), scope.tokens_key
        counting = self._ask(lambda server: server.set(key, used, nx=True, ex=RETENTION_S[scope.kind]))
        await asyncio.shield(self._start(counting))

    async def _admit_by_local_share(self, scopes: list[QuotaScope]) -> bool:
        """While the server is away: is there room in this process's share? Raises ModelFailed."""
        for scope in scopes:
            if scope.tokens and await self._cached(scope, partial(self._used, scope)) >= scope.tokens:
                raise ModelFailed(scope.exhausted_message)
        workers = await self._cached("workers", self._live_workers)
        return all(
            self._here[scope] < max(scope.calls // max(workers, 1), 1) for scope in scopes if scope.calls
        )

    async def _cached(self, what: object, look: Callable[[], Awaitable[int]]) -> int:
        """What `look` gave, not long ago."""
        at, value = self._known.get(what, (0.0, 0))
        if time.monotonic() - at > UNAVAILABLE_RETRY_S or what not in self._known:
            value = await look()
            self._known[what] = (time.monotonic(), value)
        return value

    async def _live_workers(self) -> int:
        return await asyncio.to_thread(self._read, leases.count_live)

    async def _used(self, scope: QuotaScope) -> int:
        if scope.kind == "workspace":
            return await asyncio.to_thread(self._read, usage.tokens_of_workspace, scope.id, today())
        return await asyncio.to_thread(self._read, usage.tokens_of_study, scope.id)

    def _read(self, look: Callable[..., int], *given: object) -> int:
        with self._store.read() as connection:
            return look(connection, *given)

    async def _renew(self, scopes: list[QuotaScope], holder: str) -> None:
        keys = [scope.calls_key for scope in scopes if scope.calls]
        while keys:
            await asyncio.sleep(_RENEW_S)
            await self._ask_for(
                holder, lambda server: server.eval(RENEW, len(keys), *keys, holder, SLOT_TTL_S * 1000)
            )

    async def _release(self, scopes: list[QuotaScope], holder: str, asking: asyncio.Task[Any] | None) -> None:
        if asking is not None:
            await asyncio.wait({asking})

        async def leave(server: Any) -> None:
            for scope in scopes:
                if scope.calls:
                    await server.zrem(scope.calls_key, holder)

        await self._ask(leave)
        self._left.set()

    async def _ask_for(self, holder: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """`_ask`, to be cancelled at any time: redis-py loses a cancel now and then, when it has timeouts."""
        asking = self._asking[holder] = self._start(self._ask(question))
        asking.add_done_callback(lambda _: self._asking.pop(holder, None))
        return await asyncio.shield(asking)

    async def _ask(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """The server's answer, or `_UNAVAILABLE`."""
        if not self._notices_url or time.monotonic() < self._away_until:
            return _UNAVAILABLE
        try:
            if self._redis is None:
                self._redis = connect_async(
                    self._notices_url,
                    socket_connect_timeout=_TIMEOUT_S,
                    socket_timeout=_TIMEOUT_S,
                    # Once more: a connection that was kept may have gone.
                    retry=Retry(NoBackoff(), 1),
                )
            answer = await question(self._redis)
        except (redis.RedisError, OSError, ValueError) as error:
            log.warning(
                "caps on language models: each worker keeps its share, the broker is away (%s)",
                type(error).__name__,
            )
            self._away_until = time.monotonic() + UNAVAILABLE_RETRY_S
            return _UNAVAILABLE
        self._known.clear()
        return answer


_UNAVAILABLE = object()


class FleetQuota:
    """A gate with the caps of a fleet."""

    def __init__(self, caps: ModelQuotas, scopes: list[QuotaScope], line: tuple[UUID, UUID]) -> None:
        self._caps = caps
        self._scopes = scopes
        self._line = line

    def place(self) -> contextlib.AbstractAsyncContextManager[None]:
        """See `Gate`."""
        if not self._scopes:
            return contextlib.nullcontext()
        return self._caps.acquire_slot(self._scopes, self._line)

    async def spent(self, tokens: int) -> None:
        """So many tokens were used."""
        if self._scopes:
            await self._caps.record_tokens(self._scopes, tokens)


class _Process:
    """The caps of this process."""

    make: Callable[[], ModelQuotas] | None = None
    caps: ModelQuotas | None = None


def configure(notices_url: str, store: Store) -> None:
    """From now on this process keeps the caps of its settings, together with all others at that server."""
    _Process.make = lambda: ModelQuotas(model_settings(), notices_url, store)
    _Process.caps = None


def quota_for(workspace: UUID, study: UUID) -> FleetQuota:
    """The gate of those who work for this workspace and study. Raises ModelFailed for wrong settings."""
    if _Process.make is None:
        raise ModelFailed("Nobody keeps the caps here: call understudy.models.quotas.quotas.configure first.")
    if _Process.caps is None:
        _Process.caps = _Process.make()
    return _Process.caps.gate(workspace, study)
