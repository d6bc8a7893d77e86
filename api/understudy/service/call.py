"""A call of one operation: on whose behalf it works."""

from typing import NamedTuple
from uuid import UUID

from understudy.domain.roles import Role
from understudy.service import Service
from understudy.service.credentials import Credential


class Call(NamedTuple):
    service: Service
    workspace_id: UUID
    #: Idempotency key of the caller, or None.
    key: str | None = None
    #: Role of the caller's token.
    role: Role = Role.ADMIN
    #: The credential of the call; a wait ends with it.
    credential: Credential | None = None
