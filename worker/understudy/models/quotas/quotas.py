"""Quotas: limits on concurrent model calls and on tokens in all, shared by all workers; no rate limits.

Redis holds the active calls and the used tokens. While it is unavailable, each process admits its local share
of the calls and reads the used tokens from the store.
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
from understudy.models.quotas.scope import ACQUIRE_SCRIPT, RECORD_SCRIPT, RENEW, RETENTION_S, QuotaScope, today
from understudy.queue.redis_clients import connect_async
from understudy.store import leases, usage
from understudy.store.engine import Store

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Lifetime of a slot unless renewed; the slots of a lost process expire after it.
SLOT_TTL_S = 15
_RENEW_S = 5
#: Maximum wait for Redis, and the pause before the next request once it is unavailable.
_TIMEOUT_S = 2
UNAVAILABLE_RETRY_S = 5
#: Pause between two attempts to acquire a slot, unless this process releases one.
_POLL_INTERVAL_S = 0.1


class ModelQuotas:
    """Enforces the shared quotas in one process. Call all methods on the event loop's thread."""

    def __init__(self, settings: ModelSettings, notices_url: str, store: Store) -> None:
        """Without a URL, calls use the local share, as if Redis were unavailable, and log no warning."""
        self._settings = settings
        self._notices_url = notices_url
        self._store = store
        self._redis: Any = None
        self._unavailable_until = 0.0
        #: One lock per study: only the first waiter polls Redis.
        self._wait_queues: weakref.WeakValueDictionary[tuple[UUID, UUID], asyncio.Lock] = weakref.WeakValueDictionary()
        self._slot_released = asyncio.Event()
        #: Active calls of this process.
        self._active: Counter[QuotaScope] = Counter()
        #: Tokens that are not recorded in Redis yet.
        self._unsent_tokens: Counter[str] = Counter()
        self._cache: dict[object, tuple[float, int]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        #: The pending Redis request of each holder.
        self._requests: dict[str, asyncio.Task[Any]] = {}

    def gate(self, workspace: UUID, study: UUID) -> "FleetQuota":
        """Returns the quota of this workspace and study."""
        settings = self._settings
        scopes = (
            QuotaScope("study", study, settings.study_calls, settings.study_tokens),
            QuotaScope("workspace", workspace, settings.workspace_calls, settings.workspace_tokens_per_day),
        )
        return FleetQuota(self, [scope for scope in scopes if scope.calls or scope.tokens], (workspace, study))

    async def close(self) -> None:
        """Waits for releases and records in progress, then closes the connections."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if self._redis is not None:
            await self._redis.aclose()

    @contextlib.asynccontextmanager
    async def acquire_slot(self, scopes: list[QuotaScope], wait_queue: tuple[UUID, UUID]) -> AsyncIterator[None]:
        """Holds a slot in all of these scopes. Raises ModelFailed if the tokens of one are used up."""
        holder = uuid4().hex
        renewing: asyncio.Task[None] | None = None
        is_acquired = False
        try:
            async with self._wait_queues.setdefault(wait_queue, asyncio.Lock()):
                await self._acquire(scopes, holder)
                is_acquired = True
                self._active.update(scopes)
            renewing = asyncio.create_task(self._renew(scopes, holder))
            yield
        finally:
            if is_acquired:
                self._active -= Counter(scopes)
            if renewing is not None:
                renewing.cancel()
            # A cancelled caller does not wait. A pending request of this holder completes first.
            self._start(self._release(scopes, holder, self._requests.get(holder)))

    async def record_tokens(self, scopes: list[QuotaScope], tokens: int) -> None:
        """Records tokens in Redis, later if it is unavailable. The store counts them independently."""
        if not self._notices_url:
            return
        self._unsent_tokens.update({scope.tokens_key: tokens for scope in scopes if scope.tokens})
        await asyncio.shield(self._start(self._flush_tokens()))

    def _start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Runs `work` as a task that survives the cancellation of its caller."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _flush_tokens(self) -> None:
        used, self._unsent_tokens = self._unsent_tokens, Counter()
        if not used:
            return
        if (
            await self._request(lambda server: server.eval(RECORD_SCRIPT, len(used), *used, *used.values()))
            is _UNAVAILABLE
        ):
            self._unsent_tokens += used

    async def _acquire(self, scopes: list[QuotaScope], holder: str) -> None:
        keys = [key for scope in scopes for key in (scope.calls_key, scope.tokens_key)]
        limits = [limit for scope in scopes for limit in (scope.calls, scope.tokens)]
        while True:
            self._slot_released.clear()
            answer = await self._request_for(
                holder,
                lambda server: server.eval(ACQUIRE_SCRIPT, len(keys), *keys, holder, SLOT_TTL_S * 1000, *limits),
            )
            try:
                if await self._is_admitted(answer, scopes):
                    return
            except ServiceUnavailable:
                # Nothing reports the used tokens, and no result could be stored: retry.
                log.debug("language model quotas: neither Redis nor the store answers")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_INTERVAL_S * random.uniform(0.75, 1.25)):  # noqa: S311
                    await self._slot_released.wait()

    async def _is_admitted(self, answer: Any, scopes: list[QuotaScope]) -> bool:
        """Returns whether the answer of Redis admits the call. Raises ModelFailed, ServiceUnavailable."""
        if answer is _UNAVAILABLE:
            return await self._admit_by_local_share(scopes)
        code, number = map(int, answer)
        if code == -1:
            raise ModelFailed(scopes[number].exhausted_message)
        if code == -2:
            await self._count(scopes[number])
            self._slot_released.set()
        return code == 1

    async def _count(self, scope: QuotaScope) -> None:
        """Starts the token count in Redis from the store, unless another process has started it."""
        used, key = await self._used(scope), scope.tokens_key
        counting = self._request(lambda server: server.set(key, used, nx=True, ex=RETENTION_S[scope.kind]))
        await asyncio.shield(self._start(counting))

    async def _admit_by_local_share(self, scopes: list[QuotaScope]) -> bool:
        """Returns whether the local share has a free slot. Raises ModelFailed if tokens are used up."""
        for scope in scopes:
            if scope.tokens and await self._cached(scope, partial(self._used, scope)) >= scope.tokens:
                raise ModelFailed(scope.exhausted_message)
        workers = await self._cached("workers", self._live_workers)
        return all(self._active[scope] < max(scope.calls // max(workers, 1), 1) for scope in scopes if scope.calls)

    async def _cached(self, key: object, load: Callable[[], Awaitable[int]]) -> int:
        """Returns the result of `load`, at most `UNAVAILABLE_RETRY_S` seconds old."""
        at, value = self._cache.get(key, (0.0, 0))
        if time.monotonic() - at > UNAVAILABLE_RETRY_S or key not in self._cache:
            value = await load()
            self._cache[key] = (time.monotonic(), value)
        return value

    async def _live_workers(self) -> int:
        return await asyncio.to_thread(self._read, leases.count_live)

    async def _used(self, scope: QuotaScope) -> int:
        if scope.kind == "workspace":
            return await asyncio.to_thread(self._read, usage.tokens_of_workspace, scope.id, today())
        return await asyncio.to_thread(self._read, usage.tokens_of_study, scope.id)

    def _read(self, query: Callable[..., int], *arguments: object) -> int:
        with self._store.read() as connection:
            return query(connection, *arguments)

    async def _renew(self, scopes: list[QuotaScope], holder: str) -> None:
        keys = [scope.calls_key for scope in scopes if scope.calls]
        while keys:
            await asyncio.sleep(_RENEW_S)
            await self._request_for(
                holder, lambda server: server.eval(RENEW, len(keys), *keys, holder, SLOT_TTL_S * 1000)
            )

    async def _release(self, scopes: list[QuotaScope], holder: str, last: asyncio.Task[Any] | None) -> None:
        if last is not None:
            await asyncio.wait({last})

        async def release(server: Any) -> None:
            for scope in scopes:
                if scope.calls:
                    await server.zrem(scope.calls_key, holder)

        await self._request(release)
        self._slot_released.set()

    async def _request_for(self, holder: str, command: Callable[[Any], Awaitable[Any]]) -> Any:
        """Does `_request`, shielded from cancellation: redis-py with timeouts sometimes loses a cancel."""
        request = self._requests[holder] = self._start(self._request(command))
        request.add_done_callback(lambda _: self._requests.pop(holder, None))
        return await asyncio.shield(request)

    async def _request(self, command: Callable[[Any], Awaitable[Any]]) -> Any:
        """Returns the result of `command` on the Redis client, or `_UNAVAILABLE`."""
        if not self._notices_url or time.monotonic() < self._unavailable_until:
            return _UNAVAILABLE
        try:
            if self._redis is None:
                self._redis = connect_async(
                    self._notices_url,
                    socket_connect_timeout=_TIMEOUT_S,
                    socket_timeout=_TIMEOUT_S,
                    # One retry: an idle connection may be closed.
                    retry=Retry(NoBackoff(), 1),
                )
            answer = await command(self._redis)
        except (redis.RedisError, OSError, ValueError) as error:
            log.warning(
                "language model quotas: Redis is unavailable (%s); each worker uses its local share",
                type(error).__name__,
            )
            self._unavailable_until = time.monotonic() + UNAVAILABLE_RETRY_S
            return _UNAVAILABLE
        self._cache.clear()
        return answer


_UNAVAILABLE = object()


class FleetQuota:
    """A quota that all workers share. Implements `Quota` of `understudy.models.endpoint.usage_meter`."""

    def __init__(self, quotas: ModelQuotas, scopes: list[QuotaScope], wait_queue: tuple[UUID, UUID]) -> None:
        self._quotas = quotas
        self._scopes = scopes
        self._wait_queue = wait_queue

    def place(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Holds a slot for one call; see `Quota`."""
        if not self._scopes:
            return contextlib.nullcontext()
        return self._quotas.acquire_slot(self._scopes, self._wait_queue)

    async def spent(self, tokens: int) -> None:
        """Records `tokens` as used."""
        if self._scopes:
            await self._quotas.record_tokens(self._scopes, tokens)


class _Process:
    """Holds the quotas of this process."""

    make: Callable[[], ModelQuotas] | None = None
    quotas: ModelQuotas | None = None


def configure(notices_url: str, store: Store) -> None:
    """Makes this process share the quotas of its settings with all processes on that Redis server."""
    _Process.make = lambda: ModelQuotas(model_settings(), notices_url, store)
    _Process.quotas = None


def quota_for(workspace: UUID, study: UUID) -> FleetQuota:
    """Returns the quota of this workspace and study. Raises ModelFailed for invalid settings."""
    if _Process.make is None:
        raise ModelFailed("Model quotas are not configured: call understudy.models.quotas.quotas.configure.")
    if _Process.quotas is None:
        _Process.quotas = _Process.make()
    return _Process.quotas.gate(workspace, study)
