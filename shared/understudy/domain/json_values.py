"""Plain JSON values that every store and every reader accepts, bounded in size."""

import math
from collections.abc import Mapping
from typing import Any

from understudy.domain.text import sanitize

#: Maximum nesting of objects and lists; encoders, parsers and stores end at about 1,000.
MAX_DEPTH = 100
#: Maximum size of a value that a plug-in gives us to store: its characters, and SIZE_OF_VALUE for each part.
MAX_SIZE = 1 << 20
SIZE_OF_VALUE = 8
#: Smaller integers need no further check.
_MAX_INT = 1 << 53
#: Keys that an encoder accepts; it writes them all as text.
_KEYS = (str, int, float, bool, type(None))


def is_finite_number(value: object) -> bool:
    """Returns whether `value` is a number that a double can hold: no boolean, NaN, infinity or huge integer."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


class _NotPlain(Exception):
    """A part that needs a closer look: `check_json` decides."""


def storable(value: Any, name: str) -> tuple[Any, int]:
    """Returns `value` as it can be stored, without NULs and lone surrogates, and its size.

    Raises ValueError or TypeError like `check_json`.
    """
    size = [0]
    try:
        # Each step stores several: plain values in one go.
        cleaned = _clean(value, MAX_DEPTH, size)
    except _NotPlain:
        checked = check_json(value, name)
        return sanitize(value), checked
    return cleaned, size[0] if size[0] <= MAX_SIZE else check_json(value, name)


def _clean(value: Any, levels: int, size: list[int]) -> Any:
    size[0] += SIZE_OF_VALUE
    kind = type(value)
    if kind is str:
        size[0] += len(value)
        return value if value.isascii() and "\x00" not in value else sanitize(value)
    if value is None or kind is bool:
        return value
    if kind is int and -_MAX_INT < value < _MAX_INT:
        return value
    if levels == 0 or size[0] > MAX_SIZE:
        raise _NotPlain
    if kind is dict:
        cleaned = {}
        for key, item in value.items():
            if type(key) is not str:
                raise _NotPlain
            size[0] += len(key)
            clean_key = key if key.isascii() and "\x00" not in key else sanitize(key)
            # Here too, because a call would cost more than the rest.
            if type(item) is str and item.isascii() and "\x00" not in item:
                size[0] += SIZE_OF_VALUE + len(item)
                cleaned[clean_key] = item
            else:
                cleaned[clean_key] = _clean(item, levels - 1, size)
        return cleaned
    if kind is list or kind is tuple:
        return [_clean(item, levels - 1, size) for item in value]
    if kind is float and math.isfinite(value):
        return value
    raise _NotPlain


def check_json(value: Any, name: str) -> int:
    """Returns the size of `value`. Raises ValueError or TypeError that starts with `name` if it cannot be stored.

    It must be plain JSON: text, finite numbers, booleans, null, and lists and objects of these, up to MAX_DEPTH
    deep and MAX_SIZE large.
    """
    # Level by level: a value that refers to itself must not end in a RecursionError.
    level: list[tuple[object, Any]] = [(name, value)]
    size = 0
    for _ in range(MAX_DEPTH + 1):
        below: list[tuple[object, Any]] = []
        for key, part in level:
            size += SIZE_OF_VALUE
            # The usual types first, because each step is checked.
            kind = type(part)
            if kind is str:
                size += len(part)
            elif part is None or kind is bool or (kind is int and -_MAX_INT < part < _MAX_INT):
                continue
            elif kind is dict or isinstance(part, Mapping):
                for inner in part:
                    if not isinstance(inner, _KEYS):
                        raise TypeError(f"{name} must have keys of text; got {type(inner).__name__}")
                    size += len(inner) if isinstance(inner, str) else 0
                below += part.items()
            elif isinstance(part, (list, tuple)):
                below += [(key, item) for item in part]
            elif isinstance(part, str):
                size += len(part)
            else:
                _check_number(part, name, key)
        if size > MAX_SIZE:
            raise ValueError(f"{name} must have at most {MAX_SIZE:,} characters; each value counts {SIZE_OF_VALUE}")
        if not below:
            return size
        level = below
    raise ValueError(f"{name} must be nested at most {MAX_DEPTH} deep")


def _check_number(part: object, name: str, key: object) -> None:
    place = name if key == name else f"{name} at {str(key)[:100]!r}"
    if not isinstance(part, (int, float)):
        raise TypeError(f"{place} must be plain JSON; got {type(part).__name__}")
    if not is_finite_number(part):
        raise ValueError(f"{place} must be a finite number that a double can hold")
