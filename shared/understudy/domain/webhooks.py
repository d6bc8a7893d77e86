"""Rules of webhooks: event types, addresses, retries and signatures. Source: contract section 6.

Webhooks follow the Standard Webhooks specification: https://www.standardwebhooks.com.
"""

import random
from enum import StrEnum
from urllib.parse import urlsplit

from understudy.domain.errors import ValidationError
from understudy.domain.lifecycle import Status

#: Maximum webhooks of a workspace.
MAX_WEBHOOKS = 20
MAX_URL_LENGTH = 2_000
#: Hours for which deliveries carry the signatures of both secrets after a rotation.
ROTATION_HOURS = 24
#: Days for which the log keeps deliveries that ended.
LOG_DAYS = 30
#: Longest pause between two attempts of a delivery, in seconds.
MAX_BACKOFF_S = 6 * 3600.0
_BACKOFF_FACTOR = 3


class EventType(StrEnum):
    """The type of an event that a webhook receives."""

    COMPLETED = "participant.completed"
    FAILED = "participant.failed"
    CANCELLED = "participant.cancelled"
    #: All participants of a dispatch are terminal.
    RUN_FINISHED = "run.finished"


#: Terminal status -> type of its event.
TYPES_BY_STATUS = {
    Status.COMPLETED: EventType.COMPLETED,
    Status.FAILED: EventType.FAILED,
    Status.CANCELLED: EventType.CANCELLED,
}


class DeliveryStatus(StrEnum):
    """The status of a delivery: one event for one webhook."""

    PENDING = "pending"
    DELIVERED = "delivered"
    #: It failed for the whole retry period, or can no longer be built; only a replay sends it again.
    DEAD = "dead"


def backoff_s(attempts: int, first_s: float) -> float:
    """Returns the pause after that many failed attempts: exponential with jitter, at most MAX_BACKOFF_S."""
    # The exponent is bounded: a float cannot hold any power.
    longest_s = min(first_s * float(_BACKOFF_FACTOR) ** min(attempts - 1, 50), MAX_BACKOFF_S)
    return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, no secret


def check_url(url: str) -> str:
    """Returns the host of a receiver's URL. Raises ValidationError unless it is plain http or https."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        raise _bad_url("it is malformed") from None
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise _bad_url("it may have only printable ASCII characters, and no spaces or backslashes")
    if parts.scheme not in {"http", "https"}:
        raise _bad_url("it must start with http:// or https://")
    if not parts.hostname or not port_is_valid:
        raise _bad_url("it needs a host, and a port from 1 to 65535 if it has one")
    if "%" in parts.hostname:
        raise _bad_url("its host may not have a percent sign")
    if parts.username is not None or parts.password is not None:
        raise _bad_url("it must not contain a user or a password; verify the signature instead")
    if parts.fragment or url.endswith("#"):
        raise _bad_url("it must not have a fragment")
    return parts.hostname


def _bad_url(problem: str) -> ValidationError:
    return ValidationError(f"url is not an address for a webhook: {problem}.")
