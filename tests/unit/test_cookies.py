"""Cookies: which ones browsers keep, where they go, and how many a snapshot holds."""

import json
from http.cookiejar import Cookie as OldCookie
from typing import Any

import pytest

from understudy.environments.cookies import Cookies, parse_time

PAGE = "https://shop.test/a/page"
NOW = 1_800_000_000.0


def jar(*received: str | bytes, url: str = PAGE) -> Cookies:
    """The cookies of a participant after an answer from `url`."""
    cookies = Cookies(clock=lambda: NOW)
    cookies.store(url, [one if isinstance(one, bytes) else one.encode() for one in received])
    return cookies


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        ("a=1", "a=1"),
        ("  a = b c ;HttpOnly", "a=b c"),
        ("a=1=2", "a=1=2"),
        ('a="quoted;x"', 'a="quoted'),
        ("nameless", "nameless"),
        ("=nameless", "nameless"),
        ("a=", "a="),
        ("a=José".encode(), "a=José".encode().decode("latin-1")),
        (b"a=\xff", "a=\xff"),
        ("", ""),
        ("=", ""),
        ("a=\x01", ""),
        ("a=1\x00", ""),
        ("a=" + "x" * 4_095, "a=" + "x" * 4_095),
        ("a=" + "x" * 4_096, ""),
        ("a=1; Max-Age=5", "a=1"),
        ("a=1; Max-Age=0", ""),
        ("a=1; Max-Age=-9" + "9" * 30, ""),
        ("a=1; Max-Age=soon", "a=1"),
        ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""),
        ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=5", "a=1"),
        ("a=1; Expires=never", "a=1"),
        ("a=1; Domain=shop.test", "a=1"),
        ("a=1; Domain=.Shop.Test", "a=1"),
        ("a=1; Domain=", "a=1"),
        ("a=1; Domain=test", ""),
        ("a=1; Domain=other.test", ""),
        ("a=1; Domain=www.shop.test", ""),
        ("a=1; Path=/a", "a=1"),
        ("a=1; Path=/a/page", "a=1"),
        ("a=1; Path=/a/pa", ""),
        ("a=1; Path=/b", ""),
        ("a=1; Path=relative", "a=1"),
        ("a=1; Path=/b; Path=/", "a=1"),
        ("a=1; Path=/" + "b" * 1_024, "a=1"),
        ("a=1; Secure", "a=1"),
        ("a=1; SameSite=None", ""),
        ("a=1; SameSite=None; Secure", "a=1"),
        ("a=1; SameSite=odd", "a=1"),
        ("__Secure-a=1", ""),
        ("__Secure-a=1; Secure", "__Secure-a=1"),
        ("__Host-a=1; Secure; Path=/", "__Host-a=1"),
        ("__host-a=1; Secure", ""),
        ("__Host-a=1; Secure; Path=/a", ""),
        ("__Host-a=1; Secure; Path=/; Domain=shop.test", ""),
        ("=__Host-a=1; Secure; Path=/", ""),
    ],
)
def test_a_cookie_is_kept_and_sent_as_browsers_do(received: str | bytes, sent: str) -> None:
    assert jar(received).header(PAGE) == sent


@pytest.mark.parametrize(
    ("attributes", "url", "is_sent"),
    [
        ("", "https://shop.test/a/b", True),
        ("", "https://shop.test/b", False),
        ("", "https://www.shop.test/a/b", False),
        ("; Domain=shop.test; Path=/", "https://www.shop.test/", True),
        ("; Domain=shop.test; Path=/", "https://myshop.test/", False),
        ("; Path=/", "http://shop.test:8080/", True),
        ("; Path=/; Secure", "http://shop.test/", False),
    ],
)
def test_a_cookie_goes_only_where_it_belongs(attributes: str, url: str, is_sent: bool) -> None:
    assert jar(f"a=1{attributes}").header(url) == ("a=1" if is_sent else "")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_loopback_counts_as_secure(host: str) -> None:
    url = f"http://{host}:8000/"
    assert jar("__Host-a=1; Secure; Path=/", url=url).header(url) == "__Host-a=1"
    assert jar("a=1; Secure", url="http://shop.test/").header("https://shop.test/") == ""


def test_an_address_has_no_subdomains() -> None:
    assert jar("a=1; Domain=127.0.0.1", url="http://127.0.0.1/").header("http://127.0.0.1/") == "a=1"
    assert jar("a=1; Domain=0.0.1", url="http://127.0.0.1/").header("http://127.0.0.1/") == ""


@pytest.mark.parametrize(
    ("same_site", "age_s", "with_link", "with_form"),
    [
        ("; SameSite=Strict", 0, False, False),
        ("; SameSite=Lax", 0, True, False),
        ("; SameSite=None", 0, True, True),
        ("", 0, True, True),
        ("", 121, True, False),
    ],
)
def test_another_site_gets_only_what_same_site_allows(
    same_site: str, age_s: float, with_link: bool, with_form: bool
) -> None:
    now = NOW
    cookies = Cookies(clock=lambda: now)
    cookies.store(PAGE, [f"a=1; Secure{same_site}".encode()])
    now += age_s
    assert bool(cookies.header(PAGE, cross_site=True)) == with_link
    assert bool(cookies.header(PAGE, cross_site=True, safe=False)) == with_form
    assert cookies.header(PAGE, safe=False) == "a=1"


def test_longer_paths_then_older_cookies_come_first_and_a_change_keeps_its_place() -> None:
    now = NOW
    cookies = Cookies(clock=lambda: now)
    for received in ("a=1; Path=/", "b=1; Path=/", "c=1; Path=/a", "a=2; Path=/"):
        now += 1
        cookies.store(PAGE, [received.encode()])
    assert cookies.header(PAGE) == "c=1; a=2; b=1"


def test_an_answer_without_tls_replaces_and_hides_no_secure_cookie() -> None:
    cookies = jar("a=1; Secure; Path=/", "b=1; Path=/")
    cookies.store("http://shop.test/", [b"a=2; Path=/", b"a=2; Domain=shop.test; Path=/", b"b=2; Path=/"])
    assert sorted(cookies.header("https://shop.test/").split("; ")) == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1_792_567_680),
        ("Wednesday, 21-Oct-26 07:28:00 GMT", 1_792_567_680),
        ("Oct 21 07:28:00 2026", 1_792_567_680),
        ("07:28:00 2026 october 21", 1_792_567_680),
        *((text, None) for text in ("", "never", "21 Oct 2026", "31 Feb 2026 00:00:00", "1 Jan 1600 00:00:00")),
        ("1 Jan 2026 24:00:00", None),
    ],
)
def test_dates_are_read_in_any_order(text: str, at: float | None) -> None:
    assert parse_time(text) == at


def names(cookies: Cookies) -> list[str]:
    return sorted(one["name"] for one in cookies.dump())


def test_the_longest_lived_cookies_are_kept_within_the_limits() -> None:
    kept = names(jar(*(f"c{number:03}={'x' * 3_000}; Max-Age={number + 9}" for number in range(50)), "session=1"))
    assert kept == [*(f"c{number:03}" for number in range(51 - len(kept), 50)), "session"]
    assert 10 < len(kept) < 25
    assert names(jar(*(f"c{number:03}=1; Max-Age={number + 9}" for number in range(150))))[0] == "c050"


def test_a_snapshot_restores_all_cookies() -> None:
    cookies, loaded = jar(b"a=\xff; Max-Age=9", "b=2; Domain=shop.test; SameSite=Lax"), Cookies(clock=lambda: NOW)
    loaded.load(*json.loads(json.dumps((cookies.dump(), cookies.details()))))
    assert (loaded.dump(), loaded.details()) == (cookies.dump(), cookies.details())
    # An older worker reads them with the standard library.
    assert [OldCookie(**one, rest={}).name for one in cookies.dump()] == ["a", "b"]


def old(name: str, value: str | None = "x", *, domain: str = "shop.test", path: str = "/") -> dict[str, Any]:
    """A cookie as earlier versions stored it."""
    has_dot = domain.startswith(".")
    one = OldCookie(
        0, name, value, None, False, domain, has_dot, has_dot, path, True, False, None, True, None, None, {}
    )
    return {key: kept for key, kept in vars(one).items() if key not in ("rfc2109", "_rest")}


def test_a_snapshot_of_an_earlier_version_is_read_and_bounded() -> None:
    cookies = Cookies(clock=lambda: NOW)
    cookies.load([old("a"), old("b", domain=".shop.test"), old("c", None), old("d", domain="localhost.local")])
    assert sorted(cookies.header("https://shop.test/").split("; ")) == ["a=x", "b=x", "c"]
    assert cookies.header("https://www.shop.test/") == "b=x"
    assert cookies.header("http://localhost/") == "d=x"
    cookies.load([old(f"c{number}", "x" * 4_000, path="/" + "p" * 3_000) for number in range(300)])
    assert 0 < len(json.dumps(cookies.dump())) < 70_000
