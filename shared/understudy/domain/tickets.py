"""Tickets: short-lived credentials in an address, each for the events of one scope. Source: contract section 6.

A ticket is signed with the hash of its token, which only the store knows. So it needs no row of its own, any API
process can check it, and it ends with its token.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple, Self
from uuid import UUID

from understudy.domain.errors import AuthFailed
from understudy.domain.ids import Kind

#: Seconds for which a ticket is valid.
TICKET_TTL_S = 600
_FORMAT = re.compile(r"ust_([0-9a-f]{32})\.(t|s|a)\.([0-9a-f]{32})\.(\d{1,12})\.([A-Za-z0-9_-]{43})")


class Claims(NamedTuple):
    """The claims of a ticket: none is true before its signature is checked."""

    token_id: UUID
    kind: Kind
    scope_id: UUID
    #: Unix time by the store's clock.
    expires: int

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.expires, UTC)

    def sign(self, token_hash: str) -> str:
        """Returns the ticket."""
        return f"{self._text}.{self._signature(token_hash)}"

    @classmethod
    def parse(cls, ticket: str) -> tuple[Self, str]:
        """Returns the claims and the signature of a ticket. Raises AuthFailed if it is malformed."""
        match = _FORMAT.fullmatch(ticket)
        if match is None:
            raise invalid_ticket()
        token_id, kind, scope_id, expires, signature = match.groups()
        return cls(UUID(token_id), Kind(kind), UUID(scope_id), int(expires)), signature

    def is_signed_by(self, signature: str, token_hash: str) -> bool:
        """Returns whether this is the signature of the token with that hash."""
        return hmac.compare_digest(signature, self._signature(token_hash))

    @property
    def _text(self) -> str:
        return f"ust_{self.token_id.hex}.{self.kind}.{self.scope_id.hex}.{self.expires}"

    def _signature(self, token_hash: str) -> str:
        digest = hmac.digest(token_hash.encode(), f"event-ticket:{self._text}".encode(), sha256)
        return urlsafe_b64encode(digest).decode().rstrip("=")


def invalid_ticket() -> AuthFailed:
    """Returns the one error of all tickets that are not valid; it never contains the ticket."""
    return AuthFailed(
        "The ticket is unknown, has expired, or is for another scope.",
        suggestions=("Get a new one with POST /v1/events/tickets.",),
    )
