"""Cookies as browsers keep them. Source: RFC 6265bis and Chromium, where it differs.

A value is kept as the bytes that the site sent, read as Latin-1: no cookie can spoil a later request.
"""

import ipaddress
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

from understudy.environments.navigation import Origin

_MAX_COOKIES = 100
#: Limits of browsers in bytes: of name and value, and of the value of an attribute.
_PAIR_BYTES = 4_096
_ATTRIBUTE_BYTES = 1_024
#: Limits of a snapshot in bytes: of one cookie, and of all.
_COOKIE_BYTES = 8_192
_JAR_BYTES = 65_536
#: Chromium's: the longest life of a cookie, and the age up to which one without SameSite goes with a foreign form.
_MAX_AGE_S = 400 * 86_400
_UNSAFE_AGE_S = 120

_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_INTEGER = re.compile(r"-?[0-9]+")
_SAME_SITE = frozenset(("strict", "lax", "none"))
_BLANKS = " \t"
#: The parts of a date, as RFC 6265 reads them.
_DATE_PARTS = re.compile(r"[^\t -/;-@\[-`{-~]+")
_CLOCK = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)")
_DAY = re.compile(r"(\d{1,2})(?!\d)")
_YEAR = re.compile(r"(\d{2,4})(?!\d)")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True, slots=True)
class Cookie:
    """One stored cookie."""

    name: str
    value: str
    domain: str
    #: Only for exactly `domain`, not for its subdomains.
    host_only: bool
    path: str
    secure: bool
    #: strict, lax, none, or empty if the site did not say.
    same_site: str
    #: Seconds since 1970; None: until the run ends.
    expires: float | None
    created: float

    @property
    def key(self) -> tuple[str, str, bool, str]:
        """Returns what a later cookie must have in common to replace this one."""
        return self.name, self.domain, self.host_only, self.path

    @property
    def pair(self) -> str:
        return f"{self.name}={self.value}" if self.name else self.value

    def is_for(self, host: str, path: str) -> bool:
        """Returns whether it belongs to pages of this host and path."""
        same_host = host == self.domain or (not self.host_only and _is_within(host, self.domain))
        return same_host and _is_below(path, self.path)

    @property
    def as_json(self) -> dict[str, Any]:
        """Returns the fields of Python's `http.cookiejar`, which older workers read from a snapshot."""
        # That module adds ".local" to names without a dot.
        domain = self.domain if "." in self.domain or ":" in self.domain else f"{self.domain}.local"
        return {
            "version": 0,
            "name": self.name or self.value,
            "value": self.value if self.name else None,
            "port": None,
            "port_specified": False,
            "domain": domain if self.host_only else f".{domain}",
            "domain_specified": not self.host_only,
            "domain_initial_dot": False,
            "path": self.path,
            "path_specified": True,
            "secure": self.secure,
            "expires": None if self.expires is None else int(self.expires),
            "discard": self.expires is None,
            "comment": None,
            "comment_url": None,
        }

    @property
    def details(self) -> dict[str, Any]:
        """Returns what `as_json` has no field for."""
        return {"same_site": self.same_site, "created": self.created}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], details: Mapping[str, Any]) -> Self:
        """Returns a cookie of a snapshot; `details` is empty if an older worker stored it."""
        name, value = ("", stored["name"]) if stored["value"] is None else (stored["name"], stored["value"])
        return cls(
            name=name,
            value=value,
            domain=stored["domain"].lstrip(".").removesuffix(".local"),
            host_only=not stored["domain_specified"],
            path=stored["path"],
            secure=stored["secure"],
            same_site=details.get("same_site", ""),
            expires=stored["expires"],
            created=details.get("created", 0.0),
        )


class Cookies:
    """The cookies of one participant, bounded in number and bytes."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._cookies: dict[tuple[str, str, bool, str], Cookie] = {}
        self._clock = clock

    def store(self, url: str, received: Sequence[bytes]) -> None:
        """Stores the `Set-Cookie` values of an answer; drops those that browsers drop."""
        for value in received:
            cookie = parse(value.decode("latin-1"), url, self._clock())
            if cookie is None or not _is_storable(cookie) or self._hides_secure(cookie, url):
                continue
            before = self._cookies.get(cookie.key)
            # The older of two keeps its place in the header.
            self._cookies[cookie.key] = cookie if before is None else replace(cookie, created=before.created)
        if received:
            self._bound()

    def header(self, url: str, *, cross_site: bool = False, safe: bool = True) -> str:
        """Returns the `Cookie` header of a visit; empty without one.

        `cross_site`: another site led there. `safe`: the method changes nothing.
        """
        host, path, now = Origin.of(url).host, _path(url), self._clock()
        sent = [
            cookie
            for cookie in self._cookies.values()
            if cookie.is_for(host, path)
            and (Origin.of(url).is_trustworthy or not cookie.secure)
            and (not cross_site or _goes_cross_site(cookie, now, safe=safe))
            and (cookie.expires is None or cookie.expires > now)
        ]
        sent.sort(key=lambda cookie: (-len(cookie.path), cookie.created))
        return "; ".join(cookie.pair for cookie in sent)

    def dump(self) -> list[dict[str, Any]]:
        """Returns all cookies for a snapshot."""
        return [cookie.as_json for cookie in self._cookies.values()]

    def details(self) -> list[dict[str, Any]]:
        """Returns the rest of each cookie of `dump`, in the same order."""
        return [cookie.details for cookie in self._cookies.values()]

    def load(self, stored: Sequence[Mapping[str, Any]], details: Sequence[Mapping[str, Any]] = ()) -> None:
        """Replaces all cookies by those of a snapshot; without `details` by those of an older worker."""
        found = map(Cookie.from_json, stored, details if len(details) == len(stored) else [{}] * len(stored))
        self._cookies = {cookie.key: cookie for cookie in found if _is_storable(cookie)}
        self._bound()

    def _hides_secure(self, cookie: Cookie, url: str) -> bool:
        """Returns whether an answer without TLS would replace or hide a cookie that needs it."""
        return (
            not cookie.secure
            and not Origin.of(url).is_trustworthy
            and any(
                other.secure
                and other.name == cookie.name
                and (_is_within(other.domain, cookie.domain) or _is_within(cookie.domain, other.domain))
                and _is_below(cookie.path, other.path)
                for other in self._cookies.values()
            )
        )

    def _bound(self) -> None:
        """Drops the expired cookies, and the shortest-lived beyond the limits."""
        now, count, size = self._clock(), 0, 0
        kept = {}
        by_life = sorted(self._cookies.values(), key=lambda cookie: cookie.expires or float("inf"), reverse=True)
        for cookie in by_life:
            cost = _stored_bytes(cookie)
            is_live = cookie.expires is None or cookie.expires > now
            if is_live and count < _MAX_COOKIES and size + cost <= _JAR_BYTES:
                count, size = count + 1, size + cost
                kept[cookie.key] = cookie
        self._cookies = {key: cookie for key, cookie in self._cookies.items() if key in kept}


def parse(text: str, url: str, now: float) -> Cookie | None:
    """Returns the cookie of a `Set-Cookie` value from `url`; None if browsers drop it."""
    if _FORBIDDEN.search(text):
        return None
    pair, *parts = text.split(";")
    name, separator, value = pair.partition("=")
    name, value = (name.strip(_BLANKS), value.strip(_BLANKS)) if separator else ("", pair.strip(_BLANKS))
    if not (name or value) or len(name) + len(value) > _PAIR_BYTES:
        return None
    attributes = _attributes(parts)
    host, wanted = Origin.of(url).host, attributes.get("domain", "").removeprefix(".").lower()
    cookie = Cookie(
        name=name,
        value=value,
        domain=wanted or host,
        host_only=not wanted or _is_ip(host),
        path=attributes["path"] if attributes.get("path", "").startswith("/") else _default_path(url),
        secure="secure" in attributes,
        same_site=same_site if (same_site := attributes.get("samesite", "").lower()) in _SAME_SITE else "",
        expires=_expiry(attributes, now),
        created=now,
    )
    return cookie if _is_allowed(cookie, url, attributes) else None


def _attributes(parts: Sequence[str]) -> dict[str, str]:
    found = {}
    for part in parts:
        name, _, value = part.partition("=")
        if len(value) <= _ATTRIBUTE_BYTES:
            # The last one counts.
            found[name.strip(_BLANKS).lower()] = value.strip(_BLANKS)
    return found


def _is_allowed(cookie: Cookie, url: str, attributes: Mapping[str, str]) -> bool:
    host = Origin.of(url).host
    if cookie.domain != host and (_is_ip(host) or "." not in cookie.domain or not _is_within(host, cookie.domain)):
        return False
    if (cookie.secure and not Origin.of(url).is_trustworthy) or (cookie.same_site == "none" and not cookie.secure):
        return False
    # A cookie without a name must not pass for one with a prefix.
    start = (cookie.name or cookie.value).lower()
    if start.startswith("__secure-"):
        return bool(cookie.name) and cookie.secure
    if start.startswith("__host-"):
        return bool(cookie.name) and cookie.secure and "domain" not in attributes and attributes.get("path") == "/"
    return True


def _expiry(attributes: Mapping[str, str], now: float) -> float | None:
    max_age = attributes.get("max-age", "")
    if _INTEGER.fullmatch(max_age):
        # Longer numbers say no more.
        return now + min(int(max_age[:18]), _MAX_AGE_S)
    at = parse_time(attributes.get("expires", ""))
    return None if at is None else min(at, now + _MAX_AGE_S)


def parse_time(text: str) -> float | None:
    """Returns the seconds since 1970 of a cookie's date, in any order of its parts; None if a part is missing."""
    clock = day = month = year = None
    for token in _DATE_PARTS.findall(text):
        if clock is None and (found := _CLOCK.match(token)):
            clock = int(found[1]), int(found[2]), int(found[3])
        elif day is None and (found := _DAY.match(token)):
            day = int(found[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (found := _YEAR.match(token)):
            year = int(found[1])
            year += 1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0
    if clock is None or day is None or month is None or year is None or year < 1601:
        return None
    try:
        return datetime(year, month, day, *clock, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _goes_cross_site(cookie: Cookie, now: float, *, safe: bool) -> bool:
    if cookie.same_site in ("none", "strict"):
        return cookie.same_site == "none"
    return safe or (not cookie.same_site and now - cookie.created < _UNSAFE_AGE_S)


def _stored_bytes(cookie: Cookie) -> int:
    return len(json.dumps((cookie.as_json, cookie.details)))


def _is_storable(cookie: Cookie) -> bool:
    return "\x00" not in cookie.pair and _stored_bytes(cookie) <= _COOKIE_BYTES


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _path(url: str) -> str:
    return urlsplit(url).path or "/"


def _default_path(url: str) -> str:
    return _path(url).rpartition("/")[0] or "/"


def _is_within(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _is_below(path: str, folder: str) -> bool:
    return path == folder or (path.startswith(folder) and (folder.endswith("/") or path[len(folder)] == "/"))
