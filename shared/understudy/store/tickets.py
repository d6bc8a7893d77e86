"""Creates and checks tickets with the tokens in the store."""

import hashlib
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, select

from understudy.domain.ids import Kind
from understudy.domain.tickets import TICKET_TTL_S, Claims, invalid_ticket
from understudy.store.engine import store_clock, store_time
from understudy.store.schema import Tables

_token = Tables.token


class Ticket(NamedTuple):
    """A valid ticket: it opens the events of this scope, and nothing else."""

    workspace_id: UUID
    kind: Kind
    scope_id: UUID
    token_id: UUID
    expires_at: datetime


def create_ticket(connection: Connection, secret: str, kind: Kind, scope_id: UUID) -> tuple[str, Claims]:
    """Returns a ticket of the token with this secret. Raises AuthFailed if the token was revoked meanwhile."""
    token_hash = hashlib.sha256(secret.encode()).hexdigest()
    found = select(_token.c.id).where(_token.c.hash == token_hash, _token.c.revoked_at.is_(None))
    token_id: UUID | None = connection.scalar(found)
    if token_id is None:
        raise invalid_ticket()
    claims = Claims(token_id, kind, scope_id, int(store_time(connection, TICKET_TTL_S).timestamp()))
    return claims.sign(token_hash), claims


def authenticate_ticket(connection: Connection, ticket: str) -> Ticket:
    """Returns the scope of a ticket. Raises AuthFailed if it is forged or expired, or its token was revoked."""
    claims, signature = Claims.parse(ticket)
    owner = select(_token.c.hash, _token.c.workspace_id, store_clock().label("now"))
    row = connection.execute(owner.where(_token.c.id == claims.token_id, _token.c.revoked_at.is_(None))).one_or_none()
    if row is None or not claims.is_signed_by(signature, row.hash) or row.now >= claims.expires_at:
        raise invalid_ticket()
    return Ticket(row.workspace_id, claims.kind, claims.scope_id, claims.token_id, claims.expires_at)
