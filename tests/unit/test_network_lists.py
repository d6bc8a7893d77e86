"""Lists of networks that an operator sets: what they allow and deny, and what is refused at start."""

import pytest

from understudy.deploy.command_settings import read_settings
from understudy.domain.errors import ValidationError
from understudy.domain.network_lists import parse_allowed
from understudy.settings import Settings

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"]
LOOPBACK = ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:0:0", "2002:7f00:1::1", "64:ff9b::7f00:1"]
TEN = ["10.1.2.3", "::ffff:10.1.2.3", "2002:a01:203::1"]
OTHER = ["192.168.1.1", "fd00::1", "240.0.0.1"]
METADATA = ["169.254.169.254", "fd00:ec2::254", "::ffff:168.63.129.16", "64:ff9b:1::a9fe:a9fe", "fe80::1%eth0"]
ALL = [*PUBLIC, *LOOPBACK, *TEN, *OTHER, *METADATA]


@pytest.mark.parametrize(
    ("allowed", "denied", "expected"),
    [
        ("false", "", PUBLIC),
        ("", "", PUBLIC),
        ("True", "", [*PUBLIC, *LOOPBACK, *TEN, *OTHER]),
        ("1", "private", [*PUBLIC, *LOOPBACK, "240.0.0.1"]),
        ("0.0.0.0/0, ::/0", "", [*PUBLIC, *LOOPBACK, *TEN, *OTHER]),
        (
            "10.1.0.0/16,fd00::/8,127.0.0.0/8,",
            "",
            [*PUBLIC, *TEN, "fd00::1", *(a for a in LOOPBACK if a not in ("::1", "::"))],
        ),
        ("loopback", "", [*PUBLIC, *LOOPBACK]),
        ("true", "127.0.0.0/8, ::1", [*PUBLIC, *TEN, *OTHER]),
        ("10.0.0.0/8", "10.1.0.0/16", PUBLIC),
        ("false", "93.184.0.0/16, 2606::/16", []),
        ("false", "64:ff9b::/96", PUBLIC[:2]),
        ("169.254.0.0/16, fe80::/10, fd00:ec2::254", "", PUBLIC),
    ],
)
def test_participant_with_a_private_start_reaches_the_allowed_networks(
    allowed: str, denied: str, expected: list[str]
) -> None:
    addresses = parse_allowed(allowed, denied)
    assert {each for each in ALL if addresses.permit(each, from_public=False)} == set(expected)
    public = {each for each in ALL if addresses.permit(each, from_public=True)}
    assert public == set(expected) & set(PUBLIC)


@pytest.mark.parametrize("name", ["allow_private_hosts", "deny_networks", "webhook_networks"])
@pytest.mark.parametrize(
    "networks",
    [
        "everything",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "https://a.example",
        "private;loopback",
        "10.0.0.0/8 fd00::/8",
        "1.2.3",
    ],
)
def test_list_with_an_unknown_word_is_refused_at_start(name: str, networks: str) -> None:
    with pytest.raises(ValidationError, match=rf"invalid settings: {name}: .* nor a network such as 10\.1\.0\.0/16$"):
        read_settings({name: networks})


@pytest.mark.parametrize("networks", ["::ffff:10.0.0.0/104", "fe80::1%eth0"])
@pytest.mark.parametrize("name", ["allow_private_hosts", "deny_networks", "webhook_networks"])
def test_network_that_no_address_matches_is_refused_at_start(name: str, networks: str) -> None:
    with pytest.raises(ValidationError, match="must be an IPv6 network without zone"):
        read_settings({name: networks})


@pytest.mark.parametrize("word", ["public", "true,10.0.0.0/8", "maybe"])
def test_word_that_allows_nothing_is_refused_at_start(word: str) -> None:
    with pytest.raises(ValidationError, match="is neither true, false, private nor loopback"):
        read_settings({"allow_private_hosts": word})


def test_settings_read_words_and_lists_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, address, permitted in (
        ("true", "10.1.2.3", True),
        ("off", "10.1.2.3", False),
        ("10.1.0.0/16", "10.1.2.3", True),
    ):
        monkeypatch.setenv("UNDERSTUDY_ALLOW_PRIVATE_HOSTS", value)
        assert Settings().allowed_addresses.permit(address, from_public=False) is permitted
    monkeypatch.setenv("UNDERSTUDY_DENY_NETWORKS", "10.1.2.0/24, 93.184.215.14")
    settings = Settings(webhook_networks="public, private")
    assert not settings.allowed_addresses.permit("10.1.2.3", from_public=False)
    assert not settings.receiver_networks.permits("10.1.2.3")
    assert not settings.receiver_networks.permits("::ffff:93.184.215.14")
    assert settings.receiver_networks.permits("10.1.3.3")


def test_words_of_code_and_variables_mean_the_same() -> None:
    assert Settings(allow_private_hosts=True).allowed_addresses.all_private  # type: ignore[arg-type]
    assert not Settings(allow_private_hosts=False).allowed_addresses.private  # type: ignore[arg-type]
