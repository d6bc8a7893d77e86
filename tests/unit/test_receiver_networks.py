"""Where receivers of webhooks may be, and the rules of their addresses and pauses."""

import socket
from typing import Any

import pytest

from understudy.domain.errors import ValidationError
from understudy.domain.receiver_networks import parse_receiver_networks
from understudy.domain.webhooks import MAX_BACKOFF_S, backoff_s, check_url
from understudy.service.receivers import check_receiver

METADATA = [
    *("169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200", "192.0.0.192"),
    *("168.63.129.16", "::ffff:169.254.169.254", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe", "0.0.0.0", "::", "ff02::1"),
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fc00::1", "::ffff:10.0.0.1", "2002:0a00:0001::1"]
LOOPBACK = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "2002:7f00:0001::1", "64:ff9b::7f00:1"]
PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]
OTHER = ["192.0.2.1", "240.0.0.1", "255.255.255.255", "224.0.0.1", "fec0::1", "2001:db8::1"]


def permitted(networks: str) -> set[str]:
    rules = parse_receiver_networks(networks)
    return {address for address in [*METADATA, *PRIVATE, *LOOPBACK, *PUBLIC, *OTHER] if rules.permits(address)}


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ("public", PUBLIC),
        ("", []),
        ("loopback", LOOPBACK),
        ("private, public", [*PRIVATE, *PUBLIC]),
        ("10.0.0.0/8", ["10.0.0.1", "::ffff:10.0.0.1", "2002:0a00:0001::1"]),
        ("169.254.0.0/16, fe80::/10, 100.100.100.200", []),
    ],
)
def test_networks_permit_their_addresses_in_every_notation(networks: str, expected: list[str]) -> None:
    assert permitted(networks) == set(expected)


def test_metadata_and_link_local_addresses_are_never_permitted() -> None:
    assert permitted("0.0.0.0/0, ::/0, public, private, loopback").isdisjoint(METADATA)


@pytest.mark.parametrize("networks", ["everything", "10.0.0.1/8", "10.0.0.0/33", "https://a.example", "public;private"])
def test_networks_with_an_unknown_word_are_refused(networks: str) -> None:
    with pytest.raises(ValueError, match="neither public, private nor loopback"):
        parse_receiver_networks(networks)


def test_check_receiver_looks_up_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:
        if not options.get("flags", 0) & socket.AI_NUMERICHOST:
            asked.append(host)
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    networks = parse_receiver_networks("public")
    for host in ("inside.example", "nowhere.invalid", "ä" * 70):
        check_receiver(host, networks)
    for host in (
        "127.0.0.1",
        "0x7f.1",
        "0",
        "::1",
        "localhost",
        "LOCALHOST.",
        "app.localhost",
        "127.0.0.1.",
        "0x7f.1.",
    ):
        with pytest.raises(ValidationError, match="allow list"):
            check_receiver(host, networks)
    assert asked == []


def test_check_url_returns_the_host() -> None:
    assert check_url("https://App.Example:8443/hook?x=1") == "app.example"
    assert check_url("http://[::1]:80/") == "::1"
    for url in (
        "https://app.example/\n",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1%2e/",
        "http://[fe80::1%25eth0]/",
    ):
        with pytest.raises(ValidationError, match="url"):
            check_url(url)


def test_pauses_triple_with_jitter_up_to_six_hours() -> None:
    for attempts, longest_s in ((1, 5), (2, 15), (5, 405), (9, MAX_BACKOFF_S), (10**9, MAX_BACKOFF_S)):
        pauses = [backoff_s(attempts, 5) for _ in range(50)]
        assert longest_s / 2 <= min(pauses) < max(pauses) <= longest_s
