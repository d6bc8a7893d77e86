"""Is it alive, is it ready, and how busy is it? Without a token."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel
from starlette.responses import Response

from api.rest.inputs import TheService

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    status: str = "ok"


class Ready(Alive):
    workers: int


@router.get("/healthz")
async def alive() -> Alive:
    """This process answers."""
    return Alive()


@router.get("/readyz")
async def ready(service: TheService) -> Ready:
    """Store and broker answer; how many worker processes there are. 503 with an error body otherwise.

    Answered within a few seconds, whatever they do.
    """
    return Ready(workers=await service.readiness.workers())


@router.get("/metrics", include_in_schema=False)
async def metrics(service: TheService) -> Response:
    """For Prometheus: what the store holds for all workspaces together, and who is on the line here."""
    figures = await service.readiness.figures()
    registry = CollectorRegistry()
    active = Gauge(
        "understudy_participants", "Participants that are not terminal.", ["status"], registry=registry
    )
    active.labels("pending").set(figures.pending)
    active.labels("running").set(figures.running)
    workers = Gauge("understudy_workers", "Worker processes whose lease lives.", registry=registry)
    workers.set(figures.workers)
    waited = Gauge("understudy_waited_for", "Participants that calls wait for here.", registry=registry)
    waited.set(service.waiting.waited_for)
    streams = Gauge("understudy_event_streams", "Streams of events that are open here.", registry=registry)
    streams.set(service.events.readers)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
