"""The headers that tell a site how its visitor came. Sources: Fetch, Fetch Metadata, Referrer Policy, and Chromium."""

import re
from itertools import pairwise
from typing import NamedTuple, Self

import httpx

from understudy.domain.addresses import is_loopback

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", re.IGNORECASE)
_REGION = re.compile(r"[a-z]{2}", re.IGNORECASE)
_MAX_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, url: str) -> Self:
        """Returns the origin, its host in ASCII. Raises httpx.InvalidURL."""
        parsed = httpx.URL(url)
        if not 0 <= (parsed.port or 0) <= _MAX_PORT:
            # httpx accepts it, and a connection to it fails in no expected way.
            raise httpx.InvalidURL(f"invalid port: {parsed.port}")
        return cls(parsed.scheme, parsed.raw_host.decode(), parsed.port or _DEFAULT_PORTS.get(parsed.scheme))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in (None, _DEFAULT_PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def is_same_site(self, other: "Origin") -> bool:
        """Returns whether both count as one site.

        Browsers look up which domains sell names; we do not, so subdomains of one name count as other sites.
        """
        return self.scheme == other.scheme and self.host == other.host

    @property
    def is_trustworthy(self) -> bool:
        """Returns whether browsers treat it as secure: loopback is, too."""
        return self.scheme == "https" or is_loopback(self.host)


class Navigation(NamedTuple):
    """How a visit began, and where its redirects led so far."""

    #: The page whose link or form was used; empty if the person opened the address.
    initiator: str = ""
    #: URLs that redirected, in order.
    passed: tuple[str, ...] = ()
    #: The person did it, not the page.
    by_person: bool = True

    def redirected(self, url: str) -> "Navigation":
        """Returns the navigation after `url` answered with a redirect."""
        return self._replace(passed=(*self.passed, url))

    def is_cross_site(self, url: str) -> bool:
        """Returns whether another site led to `url`."""
        return self._site(url) == "cross-site"

    def headers(self, url: str, method: str) -> dict[str, str]:
        """Returns the headers of the next request, in ASCII. Raises httpx.InvalidURL."""
        headers = {"Upgrade-Insecure-Requests": "1"}
        if referrer := self._referrer(url):
            headers["Referer"] = referrer
        if method != "GET" and self.initiator:
            headers["Origin"] = self._origin(url)
        if Origin.of(url).is_trustworthy:
            headers |= {"Sec-Fetch-Site": self._site(url), "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
            if self.by_person:
                headers["Sec-Fetch-User"] = "?1"
        return headers

    def _site(self, url: str) -> str:
        if not self.initiator:
            return "none"
        origin, site = Origin.of(self.initiator), "same-origin"
        # The farthest of all that it passed counts.
        for place in map(Origin.of, (*self.passed, url)):
            if not origin.is_same_site(place):
                return "cross-site"
            if origin != place:
                site = "same-site"
        return site

    def _origin(self, url: str) -> str:
        """Returns `null` after a redirect from a foreign origin to another one: that must not speak for the page."""
        origin = Origin.of(self.initiator)
        places = [*map(Origin.of, (*self.passed, url))]
        for before, after in pairwise(places):
            if before not in (origin, after):
                return "null"
        return str(origin)

    def _referrer(self, url: str) -> str:
        """Returns the page to the same origin, else only its origin; nothing from TLS to none."""
        if not self.initiator:
            return ""
        origin, target = Origin.of(self.initiator), Origin.of(url)
        if origin.is_trustworthy and not target.is_trustworthy:
            return ""
        foreign = any(Origin.of(place) != origin for place in (*self.passed, url))
        page = httpx.URL(self.initiator.split("#", 1)[0])
        # The raw path is never empty.
        return f"{origin}/" if foreign else str(page.copy_with(raw_path=page.raw_path))


def accept_language(language: str, country: str) -> str:
    """Returns the header of a person's browser, such as `de-AT,de;q=0.9,en;q=0.8`; of English, if theirs is no code."""
    if not _LANGUAGE.fullmatch(language):
        return "en"
    region = language if "-" in language or not _REGION.fullmatch(country) else f"{language}-{country.upper()}"
    known = dict.fromkeys((region, language, language.partition("-")[0], "en"))
    return ",".join(tag if place == 0 else f"{tag};q={1 - place / 10:.1f}" for place, tag in enumerate(known))
