"""Response limits: read untrusted responses of a model's server within bounds."""

import contextlib
import email.utils
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from understudy.isolation.json_bounds import loads_bounded

#: Maximum bytes of an answer. Compressed answers, which we do not request, grow up to a thousandfold when
#: unpacked, so their limit is lower.
MAX_ANSWER_BYTES = 4_000_000
_MAX_PACKED_BYTES = 65_536
_MAX_BODY_BYTES = dict.fromkeys(("", "identity"), MAX_ANSWER_BYTES) | dict.fromkeys(
    ("gzip", "deflate"), _MAX_PACKED_BYTES
)


class ResponseTooLarge(Exception):
    """An answer exceeds the limit of bytes."""


class _Bounded(httpx.AsyncByteStream):
    """A body that raises ResponseTooLarge after `max_bytes`."""

    def __init__(self, inner: Any, max_bytes: int) -> None:
        self._inner = inner
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._max_bytes
        async for part in self._inner:
            left -= len(part)
            if left < 0:
                raise ResponseTooLarge
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


async def limit_body(response: httpx.Response) -> None:
    """Makes reading the body raise ResponseTooLarge beyond the limit of its encoding."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    response.stream = _Bounded(response.stream, _MAX_BODY_BYTES.get(encoding, 0))


def error_message(response: httpx.Response) -> str:
    """Returns the error message of a response, from JSON or plain text; empty if unreadable."""
    try:
        found = loads_bounded(response.content)
    except (ValueError, httpx.StreamError):
        found = None
    if isinstance(found, dict):
        return error_words(found.get("error", found))
    with contextlib.suppress(httpx.StreamError):
        return response.text
    return ""


def error_words(error: Any) -> str:
    """Returns the words of an error: its message and code, or all of it."""
    if isinstance(error, dict):
        parts = [error.get("message") or error.get("detail"), error.get("code")]
        words = " ".join(part if isinstance(part, str) else json.dumps(part) for part in parts if part)
        return words or json.dumps(error)
    return error if isinstance(error, str) else json.dumps(error)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Returns the seconds that `Retry-After` (a number or a date) asks for; None if absent or invalid."""
    with contextlib.suppress(ValueError):
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(float(milliseconds) / 1000, 0.0)
    asked = headers.get("retry-after")
    if asked is None:
        return None
    try:
        seconds = float(asked)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(asked)
        except ValueError:
            return None
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        seconds = (then - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if seconds == seconds else None  # noqa: PLR0124 - NaN counts as absent


def count(used: Any, *names: str) -> int | None:
    """Returns the count under the first of `names` that has one; None without a sensible one."""
    values = (used.get(name) for name in names) if isinstance(used, Mapping) else ()
    value = next((value for value in values if value is not None), None)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**30 else None


def join_text(text: Any) -> str:
    """Returns a string as it is, the texts of a list of parts joined, and any other value as JSON."""
    if isinstance(text, list):
        return "".join(map(_part_text, text))
    return text if isinstance(text, str) else json.dumps(text)


def _part_text(part: Any) -> str:
    if isinstance(part, dict):
        text = part.get("text")
        # OpenAI's Assistants wrap it once more.
        part = text.get("value") if isinstance(text, dict) else text
    return part if isinstance(part, str) else ""
