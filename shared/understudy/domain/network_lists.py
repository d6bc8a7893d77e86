"""Lists of networks, as the settings of an operator have them."""

import ipaddress

from understudy.domain.addresses import AllowedAddresses, Network

_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1")))
_NAMED = {"private": _PRIVATE, "loopback": _LOOPBACK}
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_YES = {"true", "1", "yes", "on", "t", "y"}
_NO = {"false", "0", "no", "off", "f", "n", ""}


def parse_networks(text: str, words: str = "private nor loopback") -> tuple[Network, ...]:
    """Parses a comma-separated list of `private`, `loopback` and networks such as 10.1.0.0/16.

    Raises ValueError, which says that an item is neither one of `words` nor a network.
    """
    networks: list[Network] = []
    for name in filter(None, map(str.strip, text.split(","))):
        networks += _NAMED.get(name) or (_network(name, words),)
    return tuple(networks)


def parse_allowed(allowed: str, denied: str) -> AllowedAddresses:
    """Parses which private addresses participants may visit (`true`, `false` or networks), and the denied networks.

    Raises ValueError.
    """
    refused = parse_networks(denied)
    word = allowed.strip().lower()
    if word in _YES or word in _NO:
        return AllowedAddresses.of(all_private=word in _YES, denied=refused)
    return AllowedAddresses(parse_networks(allowed, "true, false, private nor loopback"), refused)


def _network(name: str, words: str) -> Network:
    try:
        network = ipaddress.ip_network(name)
    except ValueError:
        raise ValueError(f"{name!r} is neither {words}, nor a network such as 10.1.0.0/16") from None
    if isinstance(network, ipaddress.IPv6Network) and ("%" in name or network.subnet_of(_MAPPED)):
        # Addresses are compared without zone, and embedded ones as IPv4: this network would have none.
        raise ValueError(f"{name!r} must be an IPv6 network without zone, or be written as an IPv4 network")
    return network
