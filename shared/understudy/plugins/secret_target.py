"""Secret targets: the one form in which an address may get a secret."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

_PORTS = {"http": 80, "https": 443}
#: Paths that every server reads alike: no escapes, no backslashes, no parameters after a semicolon.
_PLAIN_PATH = re.compile(r"/|(?:/[A-Za-z0-9_~!$&'()*+,=:@.-]+)+/?")
_DOTS = frozenset((".", ".."))


class Target(NamedTuple):
    """Where a request goes: `https://bot.example:443` and its path."""

    origin: str
    path: str

    def is_below(self, prefix: str) -> bool:
        """Returns whether the path is `prefix` or below it; `/api` covers `/api/x`, not `/apifoo`."""
        return self.path == prefix or self.path.startswith(prefix if prefix.endswith("/") else f"{prefix}/")


def target_of(url: str) -> Target | None:
    """Returns the target of a URL, as it is sent; None if servers or parsers could read the URL in two ways."""
    try:
        sent, written = httpx.URL(url), urlsplit(url)
        # The transport sends what httpx reads.
        path, host = sent.raw_path.partition(b"?")[0].decode("ascii"), sent.raw_host.decode("ascii")
        port = sent.port or _PORTS.get(sent.scheme)
        has_userinfo = "@" in written.netloc or sent.userinfo != b""
        is_same = (written.path or "/") == path and written.port in (None, port)
    except (httpx.InvalidURL, ValueError):
        return None
    if sent.scheme not in _PORTS or not host or has_userinfo or not is_same or not is_plain(path):
        return None
    return Target(f"{sent.scheme}://{host}:{port}", path)


def is_plain(path: str) -> bool:
    """Returns whether every server reads `path` alike: no escapes, dots, empty segments or backslashes."""
    return _PLAIN_PATH.fullmatch(path) is not None and _DOTS.isdisjoint(path.split("/"))
