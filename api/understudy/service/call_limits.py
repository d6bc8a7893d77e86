"""The limits on requests, waits and event streams of a workspace, counted over all API processes.

This process takes requests and places from the store in portions and counts them in memory. While the store does not
answer, each process admits up to the whole limit by itself: a limit never makes a call fail that the store would
serve. The reasons are in docs/adr/0050-calls-are-counted-in-portions.md.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar
from uuid import UUID, uuid4

from understudy.domain.errors import RateLimited, ServiceUnavailable
from understudy.service.coalesced_reads import run_with_timeout
from understudy.service.executors import shutdown_executors
from understudy.settings import Settings
from understudy.store import call_limits
from understudy.store.call_limits import BURST_S, PlaceKind, RequestGrant
from understudy.store.engine import AnyRow, Store, StoreError
from understudy.telemetry import limit_metrics
from understudy.telemetry.outages import OutageLog

log = logging.getLogger(__name__)

#: Maximum seconds that a call waits for a portion; then this process admits it by its own count.
STORE_TIMEOUT_S = 1.0
#: Pause in seconds before the store is asked again.
UNAVAILABLE_RETRY_S = 5.0
#: Seconds between two reports of the places in use, if they changed.
REPORT_INTERVAL_S = 1.0
#: Seconds between two reports if they did not change, and the time to live of a report.
RENEW_INTERVAL_S = 5.0
PLACE_TTL_S = 15.0
#: Seconds without a call after which a workspace is forgotten.
_IDLE_S = 120.0
#: Portions of a minute's requests, and of the places: a portion costs one transaction.
_REQUEST_PORTIONS = 100
_PLACE_PORTIONS = 20

Result = TypeVar("Result")


class Limits(NamedTuple):
    """The limits in force for a workspace; 0: no limit."""

    requests_per_minute: int = 0
    event_streams: int = 0
    waits: int = 0


def limits_in_force(settings: Settings, workspace: AnyRow) -> Limits:
    """Returns the limits of the row of a workspace."""
    return Limits(**{name: settings.value_in_force(workspace, name) for name in Limits._fields})


@dataclass
class _Places:
    #: Open calls, and those that the store has granted to this process.
    used: int = 0
    granted: int = 0


@dataclass
class _Share:
    """The calls that this process may let in for one workspace."""

    workspace_id: UUID
    limits: Limits
    used_at: float = 0.0
    #: Requests that it may answer before it takes the next portion.
    requests: int = 0
    #: No request is free before this time.
    refused_until: float = 0.0
    #: Time until which the requests last that this process admitted by itself.
    own_until: float = 0.0
    taking: asyncio.Task[None] | None = None
    places: dict[PlaceKind, _Places] = field(default_factory=lambda: {"event_streams": _Places(), "waits": _Places()})


class CallLimiter:
    """Refuses calls over the limits of their workspace. Belongs to one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._process_id = uuid4()
        self._shares: dict[UUID, _Share] = {}
        self._threads = ThreadPoolExecutor(2, "call-limits")
        #: Held while the places of this process change in the store.
        self._changing = asyncio.Lock()
        self._reported: dict[tuple[UUID, PlaceKind], int] = {}
        self._reported_at = 0.0
        self._unavailable_until = 0.0
        self._outages = OutageLog(log, "store")
        self._reporting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Starts to report the places in use; call it on the event loop."""
        self._reporting = asyncio.create_task(self._report_loop())

    async def close(self) -> None:
        """Gives all places back. Admit no call after it."""
        if self._reporting is not None:
            self._reporting.cancel()
            await asyncio.wait({self._reporting})
        if self._reported:
            await self._ask(partial(call_limits.set_places, process_id=self._process_id, held={}, ttl_s=0))
        await shutdown_executors(self._threads)

    async def admit(self, workspace_id: UUID, limits: Limits) -> None:
        """Counts one request. Raises RateLimited."""
        share = self.observe(workspace_id, limits)
        while limits.requests_per_minute and share.requests <= 0:
            if (wait_s := share.refused_until - self._now()) > 0:
                raise _refusal(
                    "requests_per_minute", f"more than {limits.requests_per_minute:,} requests a minute", wait_s
                )
            if share.taking is None:
                # A task of its own: requests share it, and the end of one of them must not cancel it.
                share.taking = asyncio.create_task(self._take_requests(share))
            await asyncio.shield(share.taking)
        share.requests -= 1

    def observe(self, workspace_id: UUID, limits: Limits) -> _Share:
        """Keeps the limits in force for this workspace, for the calls that follow."""
        share = self._shares.setdefault(workspace_id, _Share(workspace_id, limits))
        if share.limits != limits:
            share.limits = limits
            share.requests, share.refused_until, share.own_until = 0, 0.0, 0.0
        share.used_at = self._now()
        return share

    @contextlib.asynccontextmanager
    async def hold(self, workspace_id: UUID, kind: PlaceKind) -> AsyncIterator[None]:
        """Counts an open wait or event stream during the block. Raises RateLimited before it."""
        # Its request was admitted, so the limits are known, unless its body took minutes.
        share = self._shares.get(workspace_id) or self.observe(workspace_id, Limits())
        places = share.places[kind]
        await self._enter(share, kind, places)
        try:
            yield
        finally:
            places.used -= 1

    async def _enter(self, share: _Share, kind: PlaceKind, places: _Places) -> None:
        limit: int = getattr(share.limits, kind)
        if limit and places.used >= places.granted:
            async with self._changing:
                if places.used >= places.granted:
                    await self._take_places(share, kind, places, limit)
                places.used += 1
            return
        places.used += 1

    # -- the store -----------------------------------------------------------------------------------------

    async def _take_requests(self, share: _Share) -> None:
        per_minute = share.limits.requests_per_minute
        portion = max(1, per_minute // _REQUEST_PORTIONS)
        try:
            grant = await self._ask(
                partial(
                    call_limits.take_requests,
                    workspace_id=share.workspace_id,
                    per_minute=per_minute,
                    portion=portion,
                )
            )
            if grant is None:
                grant = _own_grant(share, per_minute, portion, self._now())
        finally:
            share.taking = None
        if share.limits.requests_per_minute == per_minute:
            share.requests += grant.requests
            share.refused_until = 0.0 if grant.requests else self._now() + grant.wait_s

    async def _take_places(self, share: _Share, kind: PlaceKind, places: _Places, limit: int) -> None:
        """Adds to the granted places. Raises RateLimited if there is none."""
        for portion in sorted({max(1, limit // _PLACE_PORTIONS), 1}, reverse=True):
            taken = await self._ask(
                partial(
                    call_limits.take_places,
                    workspace_id=share.workspace_id,
                    kind=kind,
                    process_id=self._process_id,
                    places=portion,
                    limit=limit,
                    ttl_s=PLACE_TTL_S,
                )
            )
            if taken is None and places.used < limit:
                return
            if taken:
                places.granted += portion
                self._reported[share.workspace_id, kind] = places.granted
                return
        noun = kind.replace("_", " ")
        # Another process reports within this time that it has closed some.
        raise _refusal(kind, f"more than {limit:,} open {noun}", 2 * REPORT_INTERVAL_S)

    async def _ask(self, work: Callable[..., Result]) -> Result | None:
        """Returns the result of `work` in a transaction; None if the store does not answer now."""
        if self._now() < self._unavailable_until:
            return None
        try:
            result: Result = await run_with_timeout(self._threads, STORE_TIMEOUT_S, self._store.write, work)
        except (TimeoutError, ServiceUnavailable, StoreError) as error:
            self._unavailable_until = self._now() + UNAVAILABLE_RETRY_S
            reason = str(error) or f"no answer within {STORE_TIMEOUT_S:g} s"
            self._outages.failed(reason, "this process counts calls by itself")
            return None
        self._outages.succeeded()
        return result

    async def _report_loop(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            try:
                await self._report()
                self._forget_idle()
            except Exception:
                # If this task ended, the places of this process would expire while it uses them.
                log.exception("the report of open calls failed; the next one tries again")

    async def _report(self) -> None:
        """Tells the store which places are in use, if that changed or the last report grows old."""
        is_old = bool(self._reported) and self._now() > self._reported_at + RENEW_INTERVAL_S
        if self._held() == self._reported and not is_old:
            return
        async with self._changing:
            held = self._held()
            for share in self._shares.values():
                for places in share.places.values():
                    # Places that are not in use go back; the next call takes new ones.
                    places.granted = places.used
            self._reported, self._reported_at = held, self._now()
            await self._ask(partial(call_limits.set_places, process_id=self._process_id, held=held, ttl_s=PLACE_TTL_S))

    def _held(self) -> dict[tuple[UUID, PlaceKind], int]:
        return {
            (share.workspace_id, kind): places.used
            for share in self._shares.values()
            for kind, places in share.places.items()
            if places.used and getattr(share.limits, kind)
        }

    def _forget_idle(self) -> None:
        before = self._now() - _IDLE_S
        for id_, share in list(self._shares.items()):
            if share.used_at < before and not any(places.used for places in share.places.values()):
                del self._shares[id_]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _own_grant(share: _Share, per_minute: int, portion: int, now: float) -> RequestGrant:
    """Takes requests by the rate of this process alone; see `call_limits.take_requests`."""
    interval_s = 60 / per_minute
    began = max(share.own_until, now)
    for requests in sorted({portion, 1}, reverse=True):
        if began + requests * interval_s <= now + BURST_S + 1e-6:
            share.own_until = began + requests * interval_s
            return RequestGrant(requests)
    return RequestGrant(0, began + interval_s - BURST_S - now)


def _refusal(limit: str, excess: str, wait_s: float) -> RateLimited:
    limit_metrics.refused_calls.labels(limit).inc()
    retry_after_s = max(1, math.ceil(wait_s))
    return RateLimited(
        f"This workspace has {excess}. Try again in {retry_after_s} s.",
        retry_after_s=retry_after_s,
        suggestions=("Send the same request again after the time in `Retry-After`.",),
    )
