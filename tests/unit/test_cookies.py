"""Cookies in a snapshot are few and small."""

import json
from http.cookiejar import Cookie, CookieJar

import pytest

from understudy.environments import cookie_snapshot


def cookie(name: str, value: str = "x", *, expires: int | None = None, path: str = "/", comment: str = "") -> Cookie:
    return Cookie(
        0,
        name,
        value,
        None,
        False,
        "shop.test",
        True,
        False,
        path,
        True,
        False,
        expires,
        False,
        comment or None,
        None,
        {},
    )


def kept(*cookies: Cookie) -> list[str]:
    jar = CookieJar()
    for one in cookies:
        jar.set_cookie(one)
    cookie_snapshot.bound(jar)
    return sorted(one.name for one in jar)


@pytest.mark.parametrize(
    "too_large",
    [
        cookie("value", "x" * 5_000),
        cookie("letters", "ü" * 3_000),
        cookie("path", path="/" + "p" * 90_000),
        cookie("comment", comment="c" * 90_000),
        cookie("unstorable", "a\x00b"),
    ],
    ids=lambda one: str(one.name),
)
def test_cookie_that_is_too_large_or_cannot_be_stored_is_dropped(too_large: Cookie) -> None:
    assert kept(too_large, cookie("small"), cookie("browsers allow it", "x" * 4_000)) == ["browsers allow it", "small"]


def test_jar_keeps_the_longest_lived_cookies_within_its_limits() -> None:
    few = [cookie(f"c{number:03}", "x" * 3_000, expires=4_000_000_000 + number) for number in range(50)]
    names = kept(*few, cookie("session"))
    assert names == [*(f"c{number:03}" for number in range(51 - len(names), 50)), "session"]
    many = [cookie(f"c{number:03}", expires=4_000_000_000 + number) for number in range(150)]
    assert kept(*many)[0] == "c050"


def test_jar_of_an_earlier_version_is_bounded_when_it_is_loaded() -> None:
    jar, loaded = CookieJar(), CookieJar()
    for number in range(300):
        jar.set_cookie(cookie(f"c{number}", "x" * 4_000, path="/" + "p" * 3_000))
    cookie_snapshot.load(loaded, cookie_snapshot.dump(jar))
    assert 0 < len(json.dumps(cookie_snapshot.dump(loaded))) < 70_000
