"""Allow list of the addresses to which webhooks may be delivered. Source: contract section 6."""

import ipaddress
from typing import NamedTuple

from understudy.domain.addresses import NEVER, Address, Network, effective, is_in, is_public_ip

_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1")))
_NAMED = {"private": _PRIVATE, "loopback": _LOOPBACK}


class ReceiverNetworks(NamedTuple):
    """The networks of the receivers of webhooks."""

    public: bool
    networks: tuple[Network, ...]

    def permits(self, address: str) -> bool:
        """Returns whether webhooks may be delivered to this address, in any notation."""
        return all(map(self._permits, effective(address)))

    def _permits(self, ip: Address) -> bool:
        if is_in(ip, NEVER) or ip.is_unspecified or ip.is_multicast:
            return False
        return is_in(ip, self.networks) or (self.public and is_public_ip(ip))


def parse_networks(text: str) -> ReceiverNetworks:
    """Parses a comma-separated list of `public`, `private`, `loopback` and networks such as 10.1.0.0/16.

    Raises ValueError.
    """
    names = [name for name in map(str.strip, text.split(",")) if name]
    networks: list[Network] = []
    for name in names:
        if name in _NAMED:
            networks += _NAMED[name]
        elif name != "public":
            try:
                networks.append(ipaddress.ip_network(name))
            except ValueError:
                raise ValueError(
                    f"{name!r} is neither public, private nor loopback, nor a network such as 10.1.0.0/16"
                ) from None
    return ReceiverNetworks("public" in names, tuple(networks))
