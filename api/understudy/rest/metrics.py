"""What Prometheus reads of an API process; no token, no workspaces. Source: contract section 6."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from typing import TypeVar

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue
from understudy.rest.inputs import TheService
from understudy.service import Service
from understudy.service.health import StoreStats
from understudy.telemetry import metrics
from understudy.telemetry.exporter import Family, MetricsExporter

router = APIRouter(tags=["health"])

Answer = TypeVar("Answer")


@router.get("/metrics", include_in_schema=False)
async def get_metrics(service: TheService) -> Response:
    """What was counted here, and what store and broker hold for all workspaces together.

    Of a store or broker that does not answer it says just that, within a few seconds.
    """
    readiness = service.readiness
    stored, queued, resting = await asyncio.gather(
        _value_or_none(readiness.store_stats()),
        _value_or_none(readiness.queue_depths()),
        readiness.inactive_counts(),
    )
    exposition = MetricsExporter("api", lambda: _figures(service, stored, queued, resting))
    return Response(exposition.text(), media_type=CONTENT_TYPE_LATEST)


async def _value_or_none(look: Awaitable[Answer]) -> Answer | None:
    try:
        return await look
    except ServiceUnavailable:
        return None


def _figures(
    service: Service,
    stored: StoreStats | None,
    queued: dict[Queue, int] | None,
    resting: Mapping[Status, int],
) -> Iterator[Family]:
    yield metrics.store_up.sample(stored is not None)
    yield metrics.broker_up.sample(queued is not None)
    if stored is not None:
        active = {Status.PENDING: stored.pending, Status.RUNNING: stored.running}
        counts = active | dict(resting)
        yield metrics.participants.samples({(status,): count for status, count in counts.items()})
        yield metrics.oldest_pending.sample(stored.oldest_pending_s)
        yield metrics.unpublished_messages.sample(stored.owed)
        yield metrics.workers.sample(stored.workers)
    if queued is not None:
        yield metrics.queue_messages.samples({(queue,): depth for queue, depth in queued.items()})
    yield metrics.waiters.sample(service.waiting.waiters)
    yield metrics.awaited_participants.sample(service.waiting.awaited_count)
    yield metrics.event_streams.sample(service.events.readers)
