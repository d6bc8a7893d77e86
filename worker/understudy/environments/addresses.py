"""Addresses: resolve what a page writes as an address."""

import re
from urllib.parse import urljoin, urlsplit

from understudy.domain.userinfo import without_userinfo
from understudy.environments.page import clean

URL_CHARS = 2_048
LINE_BREAKS = re.compile(r"[\t\r\n]")
_PLAIN_PATH = re.compile(r"/?[\w%~-][\w%~.-]*(?:/[\w%~-][\w%~.-]*)*(?:\?[\w%~.&=+/-]+)?(?:#[\w%~.-]*)?", re.ASCII)
_PLAIN_BASE = re.compile(r"(https?://[^/?#]+)/(?:[^/?#]+/)*")


def absolute(href: str, base: str) -> str:
    """Returns the absolute URL of `href`; empty if it is not http(s) or too long."""
    href = clean(LINE_BREAKS.sub("", href.strip()))
    if _PLAIN_PATH.fullmatch(href) and (plain := _PLAIN_BASE.match(base)):
        # Nine of ten links are like this; a page may have hundreds, and urljoin is slow.
        url = (plain[1] if href.startswith("/") else plain[0]) + href
        return url if len(url) <= URL_CHARS else ""
    path, mark, rest = _split(href)
    href = path.replace("\\", "/") + mark + rest
    try:
        url = urljoin(base, href)
        if mark and not path and not rest:
            # Python keeps the old query or drops the mark.
            url = base.split("#", 1)[0].split(mark, 1)[0] + mark
        scheme = urlsplit(url).scheme
    except ValueError:
        # Keep it as written: following it reports the invalid address.
        return without_userinfo(href)[:URL_CHARS]
    return without_userinfo(url) if scheme in ("http", "https") and len(url) <= URL_CHARS else ""


def _split(href: str) -> tuple[str, str, str]:
    """Returns what stands before the query or fragment, its mark (`?`, `#` or empty), and what stands behind."""
    at = min((place for place in (href.find("?"), href.find("#")) if place >= 0), default=len(href))
    return href[:at], href[at : at + 1], href[at + 1 :]
