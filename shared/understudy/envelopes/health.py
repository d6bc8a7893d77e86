"""Envelope of the readiness of a server."""

from typing import Literal

from pydantic import Field

from understudy.envelopes.base import Envelope


class Ready(Envelope):
    status: Literal["ok", "degraded"] = Field(description="degraded: the broker is unavailable.")
    workers: int = Field(description="Worker processes that are alive and run simulations.")
    worker_kinds: dict[str, int] = Field(
        description="Worker processes that are alive, by kind: run, quarantine, control."
    )
    problems: list[str] = Field(description="What is unavailable or missing, and what to do; empty if nothing is.")
