"""The site that an iteration visits, for the limit of participants that visit one at once."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from understudy.domain.addresses import is_public

#: Endings of names that are not public.
_PRIVATE_ENDINGS = (".localhost", ".local", ".internal", ".test", ".home.arpa", ".lan")


def limited_site(content: Mapping[str, Any]) -> str | None:
    """Returns the public origin of a content's `url`, such as `https://shop.example`; None if it has none.

    By its name alone: loopback, private addresses and names without a dot are not public, so their number of
    visitors has no limit.
    """
    url = content.get("url")
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    if not _is_limited(host):
        return None
    default_port = {"http": 80, "https": 443}.get(parts.scheme)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in {None, default_port} else f":{port}")


def _is_limited(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        return "." in host and not host.endswith(_PRIVATE_ENDINGS)
