"""Is it alive, is it ready? Without a token."""

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
    """This process answers."""
    return Alive()


@router.get("/readyz")
async def ready(service: TheService) -> Ready:
    """Store and broker answer; how many worker processes there are. 503 with an error body otherwise.

    Answered within a few seconds, whatever they do.
    """
    return Ready(workers=await service.readiness.workers())
