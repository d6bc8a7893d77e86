"""Allow list of the addresses to which webhooks may be delivered. Source: contract section 6."""

import ipaddress
from typing import NamedTuple, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: Credentials of cloud machines are served here: never allowed, whatever the list says.
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
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
        return all(map(self._permits, _effective(ipaddress.ip_address(address.partition("%")[0]))))

    def _permits(self, ip: Address) -> bool:
        if _in(ip, _METADATA) or ip.is_unspecified or ip.is_multicast:
            return False
        return _in(ip, self.networks) or (self.public and _is_public(ip))


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


def _in(ip: Address, networks: tuple[Network, ...]) -> bool:
    return any(ip in network for network in networks)


def _effective(ip: Address) -> list[Address]:
    """Returns the address, or the IPv4 addresses that it embeds: a connection may end there."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    embedded = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        embedded = [ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)]
    return [inner for inner in embedded if inner is not None] or [ip]


def _is_public(ip: Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local:
        return False
    return ip.is_global and not ip.is_reserved
