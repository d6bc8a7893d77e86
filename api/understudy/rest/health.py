"""Serves liveness and readiness without a token."""

from fastapi import APIRouter
from pydantic import BaseModel

from understudy.rest.inputs import TheService

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    status: str = "ok"


class Ready(Alive):
    workers: int


@router.get("/healthz")
async def alive() -> Alive:
    """Answers while this process is alive."""
    return Alive()


@router.get("/readyz")
async def ready(service: TheService) -> Ready:
    """Returns the number of worker processes if store and broker answer; otherwise 503 with an error body.

    Answers within a few seconds in every case.
    """
    return Ready(workers=await service.readiness.workers())
