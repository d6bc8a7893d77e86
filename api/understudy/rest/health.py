"""Serves liveness and readiness without a token."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from understudy.rest.inputs import TheService

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    status: Literal["ok", "degraded"] = Field(description="degraded: the broker is unavailable.")
    workers: int = Field(description="Worker processes that are alive.")
    problems: list[str] = Field(description="What is unavailable, and what that means; empty if nothing is.")


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", operation_id="health", summary="Check that the process is alive")
async def alive() -> Alive:
    """Answer while this process is alive."""
    return Alive()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", operation_id="readiness", summary="Check that the server is ready")
async def ready(service: TheService) -> Ready:
    """Answer 200 while the store answers; otherwise 503 with an error body. Takes a few seconds at most.

    Without a broker the status is `degraded`: cancel, extend and reads work, and dispatched participants start later.
    """
    workers, problem = await service.readiness.check()
    return Ready(status="degraded" if problem else "ok", workers=workers, problems=[problem] if problem else [])
