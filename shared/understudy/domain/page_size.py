"""Bounds of answers in bytes."""

import json
from typing import Any

#: Maximum bytes of one page of a list. A page ends early with a cursor; it has at least one item.
MAX_PAGE_BYTES = 8 * 1024 * 1024
#: The part of it for the values of items. The rest is for field names: 500 items with 2 KiB each.
MAX_VALUES_BYTES = 7 * 1024 * 1024
#: Characters that remain of a text beyond a `TextBudget`.
_SHORT_TEXT = 200


def json_bytes(value: Any) -> int:
    """Returns the size of a value as JSON in UTF-8."""
    return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))


class TextBudget:
    """Shortens the texts of one answer once they have used up MAX_VALUES_BYTES."""

    def __init__(self) -> None:
        self._left_bytes = MAX_VALUES_BYTES

    def cut(self, text: str) -> str:
        """Returns `text` unchanged if it fits; else its beginning, with `…`."""
        size = json_bytes(text)
        if size > self._left_bytes and len(text) > _SHORT_TEXT:
            return text[: _SHORT_TEXT - 1] + "…"
        self._left_bytes -= size
        return text
