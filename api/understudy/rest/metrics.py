"""Serves the metrics of an API process to Prometheus; no token, no workspaces. Source: contract section 6."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from typing import TypeVar

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue, count_simulating
from understudy.rest.inputs import TheService
from understudy.service import Service
from understudy.service.health import StoreStats
from understudy.telemetry import metrics, window_metrics
from understudy.telemetry.exporter import Family, MetricsExporter
from understudy.telemetry.window_metrics import AGES

router = APIRouter(tags=["health"])

Answer = TypeVar("Answer")


@router.get("/metrics", include_in_schema=False)
async def get_metrics(service: TheService) -> Response:
    """Returns this process's counters, and the figures of store and broker over all workspaces.

    If store or broker is unavailable, its `up` metric is 0 and its figures are missing, within seconds.
    """
    readiness = service.readiness
    stored, queued, inactive = await asyncio.gather(
        _value_or_none(readiness.store_stats()),
        _value_or_none(readiness.queue_depths()),
        readiness.inactive_counts(),
    )
    exposition = MetricsExporter("api", lambda: _samples(service, stored, queued, inactive))
    return Response(exposition.text(), media_type=CONTENT_TYPE_LATEST)


async def _value_or_none(probe: Awaitable[Answer]) -> Answer | None:
    try:
        return await probe
    except ServiceUnavailable:
        return None


def _samples(
    service: Service,
    stored: StoreStats | None,
    queued: dict[Queue, int] | None,
    inactive: Mapping[Status, int],
) -> Iterator[Family]:
    yield metrics.store_up.sample(stored is not None)
    yield metrics.broker_up.sample(queued is not None)
    if stored is not None:
        active = {Status.PENDING: stored.pending, Status.RUNNING: stored.running}
        counts = active | dict(inactive)
        yield metrics.participants.samples({(status,): count for status, count in counts.items()})
        waiting = stored.backlog
        yield metrics.oldest_pending.sample(waiting.oldest_s)
        yield metrics.unpublished_messages.sample(waiting.unpublished)
        yield window_metrics.pending_by_age.samples({(AGES[age],): count for age, count in waiting.by_age.items()})
        yield window_metrics.window_messages.sample(waiting.window_messages)
        yield window_metrics.window_size.sample(waiting.window_size)
        yield window_metrics.slots_wanted.sample(waiting.slots_wanted)
        yield metrics.workers.sample(count_simulating(stored.workers))
        yield metrics.workers_by_kind.samples({(kind,): count for kind, count in stored.workers.items()})
    if queued is not None:
        yield metrics.queue_messages.samples({(queue,): depth for queue, depth in queued.items()})
    yield metrics.waiters.sample(service.waiting.waiters)
    yield metrics.awaited_participants.sample(service.waiting.awaited_count)
    yield metrics.event_streams.sample(service.events.readers)
