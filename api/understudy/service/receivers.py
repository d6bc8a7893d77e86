"""Checks that the receiver of a webhook has an address to which webhooks may be delivered."""

import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

from understudy.domain.errors import ValidationError
from understudy.domain.receiver_networks import ReceiverNetworks

#: Seconds for a look-up. Only this check waits for it: it has threads of its own.
LOOKUP_TIMEOUT_S = 3.0
_threads = ThreadPoolExecutor(2, "receiver-lookup")


def check_receiver(host: str, networks: ReceiverNetworks) -> None:
    """Raises ValidationError if `host` has only addresses that are not allowed.

    A name without an answer passes: its receiver may not run yet. Each delivery checks the address to which it
    really connects.
    """
    addresses = _addresses(host)
    if addresses and not any(map(networks.permits, addresses)):
        raise ValidationError(
            f"url: webhooks may not be delivered to {host}: it is not in the operator's allow list of receivers.",
            suggestions=("Ask the operator to add its network to UNDERSTUDY_WEBHOOK_NETWORKS.",),
        )


def _addresses(host: str) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    lookup = _threads.submit(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    try:
        return [str(found[4][0]) for found in lookup.result(LOOKUP_TIMEOUT_S)]
    except (OSError, UnicodeError, TimeoutError):
        # No address, or no answer in time.
        lookup.cancel()
        return []
