"""Checks that the receiver of a webhook has an address to which webhooks may be delivered."""

import socket

from understudy.domain.errors import ValidationError
from understudy.domain.receiver_networks import ReceiverNetworks

_LOOPBACK = ["127.0.0.1", "::1"]


def check_receiver(host: str, networks: ReceiverNetworks) -> None:
    """Raises ValidationError if `host` is an address, in any notation, that is not allowed, or names this machine.

    Looks up no name: the answer would tell callers which names exist inside. Each delivery checks the address to which
    it really connects.
    """
    addresses = _addresses(host)
    if addresses and not any(map(networks.permits, addresses)):
        raise ValidationError(
            f"url: webhooks may not be delivered to {host}: it is not in the operator's allow list of receivers.",
            suggestions=("Ask the operator to add its network to UNDERSTUDY_WEBHOOK_NETWORKS.",),
        )


def _addresses(host: str) -> list[str]:
    # The dot of a complete name may be behind an address too; what connects drops it.
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return _LOOPBACK
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [str(address[4][0]) for address in found]
