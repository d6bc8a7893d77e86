"""Automatic refreshes: to which address a page sends its visitor by itself. Source: HTML standard, `Refresh`."""

import re

from understudy.environments.addresses import absolute

#: After more seconds, the person sees the page first.
_MAX_S = 2
_REFRESH = re.compile(r"\s*(\d{1,3})[.\d]*\s*[;,]\s*(?:url\s*=\s*)?['\"]?([^'\"]+)", re.IGNORECASE)


def refresh_url(text: str, base: str) -> str:
    """Returns the address in a `Refresh` header or a page's own; empty if there is none or it is not immediate."""
    found = _REFRESH.match(text)
    return absolute(found[2], base) if found and int(found[1]) <= _MAX_S else ""
