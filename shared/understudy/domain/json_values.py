"""Plain JSON values that every store and every reader accepts."""

import math
from collections.abc import Mapping
from typing import Any

#: Maximum nesting of objects and lists; encoders, parsers and stores end at about 1,000.
MAX_DEPTH = 100
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


def check_json(value: Any, name: str) -> None:
    """Raises ValueError or TypeError if a part of `value` is not plain JSON; the message starts with its name.

    Plain JSON is text, finite numbers, booleans, null, and lists and objects of these, up to MAX_DEPTH deep.
    """
    # A loop: a value that refers to itself must not end in a RecursionError.
    waiting = [(value, name, 0)]
    while waiting:
        part, path, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"{name} must be nested at most {MAX_DEPTH} deep")
        if isinstance(part, Mapping):
            for key, item in part.items():
                if not isinstance(key, _KEYS):
                    raise TypeError(f"{path[:200]} must have keys of text; got {type(key).__name__}")
                waiting.append((item, f"{path}.{key}", depth + 1))
        elif isinstance(part, (list, tuple)):
            waiting += [(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(part)]
        elif isinstance(part, (int, float)) and not isinstance(part, bool):
            if not is_finite_number(part):
                raise ValueError(f"{path[:200]} must be a finite number that a double can hold")
        elif not (part is None or isinstance(part, (str, bool))):
            raise TypeError(f"{path[:200]} must be plain JSON; got {type(part).__name__}")
