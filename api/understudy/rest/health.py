"""Serves liveness and readiness without a token."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from understudy.domain.queues import count_simulating
from understudy.domain.stuck_detection import missing_worker
from understudy.envelopes.health import Ready
from understudy.rest.inputs import TheService

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


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
    A kind of worker that is missing is a problem too; the server is `ok` without it.
    """
    workers, problem = await service.readiness.check()
    missing = [missing_worker(kind) for kind, count in workers.items() if not count]
    return Ready(
        status="degraded" if problem else "ok",
        workers=count_simulating(workers),
        worker_kinds={kind.label: count for kind, count in workers.items()},
        problems=[*([problem] if problem else []), *missing],
    )
