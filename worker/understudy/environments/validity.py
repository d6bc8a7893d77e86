"""Constraints: why a browser refuses to send a field as it is."""

import re
from urllib.parse import urlsplit

from understudy.environments.input_values import FORMATS, RANGED, step_error, to_number
from understudy.environments.page import Control

#: As the HTML standard defines a valid address.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_SPECIAL = frozenset(("http", "https", "ws", "wss", "ftp"))
_NO_HOST = re.compile(r"[\t\n\f\r<>^|%\"`{}\\]")
_TEXTS = frozenset(("text", "search", "url", "tel", "email", "password"))
_PATTERN_CHARS = 1_000
_PATTERN_S = 0.05
#: What JavaScript writes in another way than Python.
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|([dDwW\\]))")
_CLASSES = {"d": "[0-9]", "D": "[^0-9]", "w": "[A-Za-z0-9_]", "W": "[^A-Za-z0-9_]", "\\": "\\\\"}


def violation(control: Control, value: str, *, typed: bool) -> str:
    """Returns what is wrong with the value, in a person's words; empty if it may be sent."""
    if not value:
        return ""
    kind, rules = control.type or "text", control.rules
    if kind == "email":
        addresses = value.split(",") if "multiple" in rules else [value]
        if not all(_EMAIL.fullmatch(address) for address in addresses):
            return "is not an email address"
    if kind == "url" and not _is_url(value):
        return "is not a full address such as https://example.com"
    if kind in _TEXTS and "pattern" in rules and not _matches(rules["pattern"], value):
        return (
            f"does not have the expected form ({rules['title'][:150]})"
            if rules.get("title")
            else ("does not have the expected form")
        )
    if typed and utf16_length(value) < (limit(rules.get("minlength")) or 0):
        return f"needs at least {rules['minlength']} characters"
    # A range always has a value within its bounds.
    return _range_violation(control, value) if kind in RANGED and kind != "range" else ""


def limit(written: str | None) -> int | None:
    """Returns a length as it is written in a page; None if there is none."""
    text = (written or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def utf16_length(text: str) -> int:
    """Returns the length that browsers count."""
    return len(text) + sum(character > "\uffff" for character in text)


def _range_violation(control: Control, value: str) -> str:
    kind, rules = control.type, control.rules
    number = to_number(kind, value)
    if number is None:
        return f"has to be written as {FORMATS[kind]}"
    low, high = to_number(kind, rules.get("min", "")), to_number(kind, rules.get("max", ""))
    if kind == "time" and low is not None and high is not None and low > high:
        return f"must be from {rules['min']} to {rules['max']}" if high < number < low else ""
    if low is not None and number < low:
        return f"must be {rules['min']} or more"
    if high is not None and number > high:
        return f"must be {rules['max']} or less"
    return f"must be in steps of {rules.get('step') or 'one'}" if step_error(kind, number, rules) else ""


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading it raises ValueError for an invalid port
    except ValueError:
        return False
    if not parts.scheme:
        return False
    if parts.scheme in _SPECIAL:
        host = value.split(":", 1)[1].replace("\\", "/").lstrip("/").split("/")[0].split("?")[0].split("#")[0]
        return bool(host) and not _NO_HOST.search(host)
    return True


def _matches(pattern: str, value: str) -> bool:
    """Returns whether the pattern allows the value. One that is invalid or takes too long allows all."""
    if len(pattern) > _PATTERN_CHARS or not _is_valid_in_sets(pattern):
        return True
    import regex  # noqa: PLC0415 - few pages have patterns, and it takes 2 MB of each worker

    try:
        expression = regex.compile(_ESCAPE.sub(_translated, pattern), regex.V1)
        return expression.fullmatch(value, timeout=_PATTERN_S) is not None
    except (regex.error, TimeoutError, OverflowError, RecursionError, ValueError):
        return True


def _translated(escape: re.Match[str]) -> str:
    if escape[1]:
        return re.escape(chr(min(int(escape[1], 16), 0x10FFFF)))
    return _CLASSES[escape[2]]


def _is_valid_in_sets(pattern: str) -> bool:
    """Returns whether the sets of a pattern follow the rules of the flag `v`; browsers ignore the pattern if not."""
    depth, position = 0, 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 2
            continue
        if character == "[":
            depth += 1
            if pattern[position + 1 : position + 2] == "^":
                position += 1
            if pattern[position + 1 : position + 2] == "-":
                return False
        elif character == "]" and depth:
            depth -= 1
        elif depth and (character in "(){}/|" or pattern[position : position + 2] == "-]"):
            return False
        position += 1
    return depth == 0
