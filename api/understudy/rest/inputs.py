"""Defines the inputs that endpoints share: the service, the caller's workspace and the idempotency key."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Query, Request
from pydantic import BeforeValidator

from understudy.operations.requests import MAX_ID_LENGTH, MAX_KEY_LENGTH
from understudy.rest.query import flag
from understudy.service import Service


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _workspace(request: Request) -> UUID:
    workspace_id: UUID = request.state.workspace_id
    return workspace_id


TheService = Annotated[Service, Depends(_service)]
Workspace = Annotated[UUID, Depends(_workspace)]
IdInQuery = Annotated[str | None, Query(max_length=MAX_ID_LENGTH, description="UUID or alias.", examples=["s-b2c"])]
Flag = Annotated[bool, BeforeValidator(flag), Query()]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="A request repeated with the same key starts only once. Keys are kept for 24 hours.",
    ),
]
