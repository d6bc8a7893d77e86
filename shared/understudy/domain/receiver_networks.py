"""Allow list of the addresses to which webhooks may be delivered. Source: contract section 6."""

from typing import NamedTuple

from understudy.domain.addresses import NEVER, Address, Network, effective, is_denied, is_in, is_public_ip
from understudy.domain.network_lists import parse_networks


class ReceiverNetworks(NamedTuple):
    """The networks of the receivers of webhooks."""

    public: bool
    networks: tuple[Network, ...]
    #: The operator's deny list, stronger than the networks above.
    denied: tuple[Network, ...] = ()

    def permits(self, address: str) -> bool:
        """Returns whether webhooks may be delivered to this address, in any notation."""
        return not is_denied(address, self.denied) and all(map(self._permits, effective(address)))

    def _permits(self, ip: Address) -> bool:
        if is_in(ip, NEVER) or ip.is_unspecified or ip.is_multicast:
            return False
        return is_in(ip, self.networks) or (self.public and is_public_ip(ip))


def parse_receiver_networks(text: str, denied: str = "") -> ReceiverNetworks:
    """Parses comma-separated lists of `private`, `loopback` and networks; the first may have `public`.

    Raises ValueError.
    """
    names = [name.strip() for name in text.split(",")]
    others = ",".join(name for name in names if name != "public")
    return ReceiverNetworks(
        "public" in names, parse_networks(others, "public, private nor loopback"), parse_networks(denied)
    )
