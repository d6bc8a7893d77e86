"""Text that every store accepts and people can read."""

from collections.abc import Mapping
from typing import Any


def sanitize(value: Any) -> Any:
    """Returns JSON-like `value` without NULs and lone surrogates, in all strings and keys."""
    if isinstance(value, str):
        if value.isascii() and "\x00" not in value:
            return value
        return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {sanitize(key): sanitize(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [sanitize(item) for item in value]
    return value


def format_value(value: Any) -> str:
    """Formats a JSON value: `pick: B; ratings: A 2, B 4; comment: …`. Text is unchanged, null is `none`."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_inner(item)}" for name, item in value.items())
    return _inner(value)


def _inner(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inner(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_inner, value))
    return "none" if value is None else str(value)
