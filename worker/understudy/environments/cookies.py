"""Cookies: of one participant, in and out of a snapshot."""

from collections.abc import Sequence
from http.cookiejar import Cookie, CookieJar
from typing import Any

from understudy.environments.page import clean, words

_MAX_COOKIES = 100
#: What browsers take.
_COOKIE_CHARS = 4_096

_FIELDS = sorted(
    words(
        "version name value port port_specified domain domain_specified domain_initial_dot path "
        "path_specified secure expires discard comment comment_url"
    )
)


def bound(jar: CookieJar) -> None:
    """Drop what no browser would keep, and the shortest-lived beyond a hundred: no site fills the store."""
    cookies = list(jar)
    kept = 0
    for cookie in sorted(cookies, key=lambda cookie: cookie.expires or float("inf"), reverse=True):
        storable = cookie.name + (cookie.value or "")
        if kept >= _MAX_COOKIES or len(storable) > _COOKIE_CHARS or clean(storable) != storable:
            jar.clear(cookie.domain, cookie.path, cookie.name)
        else:
            kept += 1


def dump(jar: CookieJar) -> list[dict[str, Any]]:
    """Every cookie with all it says about itself."""
    return [{name: getattr(cookie, name) for name in _FIELDS} for cookie in jar]


def load(jar: CookieJar, cookies: Sequence[dict[str, Any]]) -> None:
    """Put back what `dump` gave. An expired one is dropped on the next request, as in any jar."""
    for cookie in cookies:
        jar.set_cookie(Cookie(**cookie, rest={}))
