"""Cookies: save and load one participant's cookies in a snapshot."""

from collections.abc import Sequence
from http.cookiejar import Cookie, CookieJar
from typing import Any

from understudy.environments.page import clean, words

_MAX_COOKIES = 100
#: Limit of browsers.
_COOKIE_CHARS = 4_096

_FIELDS = sorted(
    words(
        "version name value port port_specified domain domain_specified domain_initial_dot path "
        "path_specified secure expires discard comment comment_url"
    )
)


def bound(jar: CookieJar) -> None:
    """Drops cookies that browsers reject, and the shortest-lived beyond 100, to bound the snapshot."""
    cookies = list(jar)
    count = 0
    for cookie in sorted(cookies, key=lambda cookie: cookie.expires or float("inf"), reverse=True):
        storable = cookie.name + (cookie.value or "")
        if count >= _MAX_COOKIES or len(storable) > _COOKIE_CHARS or clean(storable) != storable:
            jar.clear(cookie.domain, cookie.path, cookie.name)
        else:
            count += 1


def dump(jar: CookieJar) -> list[dict[str, Any]]:
    """Returns every cookie with all its fields."""
    return [{name: getattr(cookie, name) for name in _FIELDS} for cookie in jar]


def load(jar: CookieJar, cookies: Sequence[dict[str, Any]]) -> None:
    """Adds cookies from `dump`. The jar drops expired ones on the next request."""
    for cookie in cookies:
        jar.set_cookie(Cookie(**cookie, rest={}))
