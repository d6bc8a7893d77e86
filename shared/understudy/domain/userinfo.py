"""User and password in a URL: nothing shows them."""

import re
from collections.abc import Mapping
from typing import Any

#: The part before `@` of the authority, also in sloppy spellings: the URL may be shown because it is invalid.
_USERINFO = re.compile(
    r"^(\s*(?:(?:https?|ftp|wss?):[/\\]*|[a-z][a-z0-9+.-]*:[/\\]{2,}|[/\\]{2,}))[^/?#]*@", re.IGNORECASE
)


def without_userinfo(url: str) -> str:
    """Returns the URL without user and password."""
    return _USERINFO.sub(r"\1", url, count=1)


def has_userinfo(url: str) -> bool:
    """Returns whether the URL has a user or password."""
    return without_userinfo(url) != url


def shown_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an iteration's content as callers get it. Older rows may have a URL with user and password."""
    url = content.get("url")
    return {**content, "url": without_userinfo(url)} if isinstance(url, str) else dict(content)
