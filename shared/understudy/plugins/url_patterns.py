"""Patterns of page addresses, matched in linear time by RE2."""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re2

#: Maximum bytes of a compiled pattern and its state: a short pattern can stand for a huge one.
_MAX_MEMORY = 1 << 20


class InvalidPattern(ValueError):
    """The pattern is not valid in the syntax of RE2, or too large when it is compiled."""


@lru_cache(maxsize=256)
def _compile(pattern: str) -> "re2._Regexp":
    import re2  # noqa: PLC0415 - most runs need none, and it takes 3 MB of each worker

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidPattern(text or "it is not a pattern") from None


def check_pattern(pattern: str) -> None:
    """Raises InvalidPattern unless `pattern` can be matched."""
    _compile(pattern)


def matches(pattern: str, url: str) -> bool:
    """Returns whether a part of `url` matches `pattern`; without lookaround and references to groups."""
    return _compile(pattern).search(url) is not None
