"""Which addresses are public, and which nobody may reach; the same on every Python."""

import pytest

from understudy.domain.addresses import is_forbidden, is_public

PUBLIC = """
    1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 198.17.0.1 198.20.0.1
    223.255.255.255 2606:2800:220:1:248:1893:25c8:1946 2001:4860:4860::8888 ::ffff:93.184.216.34 64:ff9b::5db8:d822
    2002:5db8:d822::1
"""
PRIVATE = """
    0.0.0.0 0.1.2.3 ::
    10.0.0.1 100.64.0.1 127.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 192.0.0.9 192.0.0.10 192.0.2.1 192.88.99.1
    198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 ::1 ::10.0.0.1 fc00::1 fec0::1 ff02::1
    100::1 2001::1 2001:2::1 2001:20::1 2001:db8::1 3fff::1 5f00::1 64:ff9b:1::a00:1 64:ff9b::7f00:1 2002:a00:1::1
    2002:7f00:1:: ::ffff:10.0.0.1 ::ffff:127.0.0.1 4000::1
"""
FORBIDDEN = """
    169.254.169.254 169.254.0.1 168.63.129.16 100.100.100.200 192.0.0.192 fe80::1 fe80::1%eth0
    fd00:ec2::254 fd20:ce::254 ::ffff:169.254.169.254 2002:a9fe:a9fe::1 64:ff9b::a9fe:a9fe
"""


@pytest.mark.parametrize(
    ("address", "public", "forbidden"),
    [
        *((address, True, False) for address in PUBLIC.split()),
        *((address, False, False) for address in PRIVATE.split()),
        *((address, False, True) for address in FORBIDDEN.split()),
    ],
)
def test_kind_of_an_address_in_any_notation(address: str, public: bool, forbidden: bool) -> None:
    assert (is_public(address), is_forbidden(address)) == (public, forbidden)
