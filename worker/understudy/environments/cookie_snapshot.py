"""Cookies: save and load one participant's cookies in a snapshot."""

import json
from collections.abc import Sequence
from http.cookiejar import Cookie, CookieJar
from typing import Any

from understudy.environments.page import clean, words

_MAX_COOKIES = 100
#: Limit of browsers for name and value. Limits in bytes of a stored cookie, and of all cookies of a participant.
_VALUE_BYTES = 4_096
_COOKIE_BYTES = 8_192
_JAR_BYTES = 65_536

_FIELDS = sorted(
    words(
        "version name value port port_specified domain domain_specified domain_initial_dot path "
        "path_specified secure expires discard comment comment_url"
    )
)


def bound(jar: CookieJar) -> None:
    """Drops cookies that browsers reject or that cannot be stored, and the shortest-lived beyond the jar's limits."""
    count = size = 0
    for cookie in sorted(jar, key=lambda cookie: cookie.expires or float("inf"), reverse=True):
        cost = _stored_bytes(cookie)
        if cost and count < _MAX_COOKIES and size + cost <= _JAR_BYTES:
            count, size = count + 1, size + cost
        else:
            jar.clear(cookie.domain, cookie.path, cookie.name)


def _stored_bytes(cookie: Cookie) -> int:
    """Returns the bytes of the cookie in a snapshot; 0 if it cannot be stored."""
    fields = _dump(cookie)
    text = "".join(value for value in fields.values() if isinstance(value, str))
    if clean(text) != text or len((cookie.name + (cookie.value or "")).encode()) > _VALUE_BYTES:
        return 0
    cost = len(json.dumps(fields))
    return cost if cost <= _COOKIE_BYTES else 0


def dump(jar: CookieJar) -> list[dict[str, Any]]:
    """Returns every cookie with all its fields."""
    return [_dump(cookie) for cookie in jar]


def _dump(cookie: Cookie) -> dict[str, Any]:
    return {name: getattr(cookie, name) for name in _FIELDS}


def load(jar: CookieJar, cookies: Sequence[dict[str, Any]]) -> None:
    """Adds cookies from `dump`. The jar drops expired ones on the next request."""
    for cookie in cookies:
        jar.set_cookie(Cookie(**cookie, rest={}))
    # A snapshot of an earlier version may hold more.
    bound(jar)
