"""Kinds of IP addresses: public ones, private ones that participants may visit, and those that nobody may reach.

Own tables: `is_global` of the standard library differs between versions of Python. Sources: the IANA registries of
special-purpose addresses (RFC 6890), and the metadata services of the large clouds.
"""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple, Self, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, text.split()))


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: Prefix for translators of an organisation's own (RFC 8215).
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
#: Link-local addresses, and services that give a machine's credentials to whoever asks from it.
NEVER = _networks("169.254.0.0/16 fe80::/10 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254 fd20:ce::254")
_NOT_PUBLIC = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
    "192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3"
)
#: All unicast addresses of the internet begin here.
_UNICAST_V6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC_V6 = _networks("2001::/23 2001:db8::/32 3fff::/20")
_EVERYTHING = _networks("0.0.0.0/0 ::/0")
#: A connection to the unspecified address ends at this machine.
_THIS_MACHINE: dict[Address, Address] = {
    ipaddress.ip_address("0.0.0.0"): ipaddress.ip_address("127.0.0.1"),  # noqa: S104 - nothing listens here
    ipaddress.ip_address("::"): ipaddress.ip_address("::1"),
}


def effective(address: str) -> list[Address]:
    """Returns the address, or the IPv4 addresses that it embeds: a connection may end there. Raises ValueError."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    last_bits = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    if ip in _LOCAL_NAT64:
        return [ip, last_bits]
    embedded = [last_bits] if ip in _NAT64 else [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    return [inner for inner in embedded if inner is not None] or [ip]


def is_in(ip: Address, networks: Iterable[Network]) -> bool:
    """Returns whether the address is in one of the networks."""
    return any(ip in network for network in networks)


def is_public_ip(ip: Address) -> bool:
    """Returns whether the internet reaches this address, which embeds no other."""
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in _UNICAST_V6 and not is_in(ip, _NOT_PUBLIC_V6)
    return not is_in(ip, _NOT_PUBLIC)


def is_public(address: str) -> bool:
    """Returns whether this is a public internet address, in any notation."""
    return all(map(is_public_ip, effective(address)))


def is_forbidden(address: str) -> bool:
    """Returns whether nobody may reach this address, whatever is allowed."""
    return any(is_in(ip, NEVER) for ip in effective(address))


def is_denied(address: str, denied: Iterable[Network]) -> bool:
    """Returns whether the address, or one that it embeds or stands for, is in one of the denied networks."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return is_in(ip, denied) or any(is_in(_destination(inner), denied) for inner in effective(address))


def has_public(addresses: Iterable[str]) -> bool:
    """Returns whether a host with these addresses is public: one public address is enough."""
    return any(map(is_public, addresses))


def _destination(ip: Address) -> Address:
    return _THIS_MACHINE.get(ip, ip)


class AllowedAddresses(NamedTuple):
    """The addresses that participants may visit: public ones, and those of the allowed private networks."""

    private: tuple[Network, ...] = ()
    #: The operator's; they apply to public addresses also.
    denied: tuple[Network, ...] = ()

    @classmethod
    def of(cls, *, all_private: bool, denied: tuple[Network, ...] = ()) -> Self:
        """Returns all or no private addresses, without the denied networks."""
        return cls(_EVERYTHING if all_private else (), denied)

    @property
    def all_private(self) -> bool:
        return self.private == _EVERYTHING

    def permit(self, address: str, *, from_public: bool) -> bool:
        """Returns whether a participant may connect to the address, in any notation.

        A participant whose start page is public (`from_public`) reaches no private address: only the caller, never
        a site, may choose to visit one.
        """
        if is_forbidden(address) or is_denied(address, self.denied):
            return False
        return all(
            is_public_ip(ip) or (not from_public and is_in(_destination(ip), self.private)) for ip in effective(address)
        )


def is_loopback(host: str) -> bool:
    """Returns whether a host of a URL is this machine, by its address or name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
