"""Written objects: find the JSON objects in the text of a language model, and repair slightly broken ones."""

import json
import re
from collections.abc import Iterator
from typing import Any

#: Maximum characters of an answer, and maximum positions to search for an object.
MAX_LENGTH = 200_000
_MAX_POSITIONS = 200
#: Maximum characters that the search reads in vain.
_MAX_READ = 2_000_000
#: Bounds of a repair, which runs on the event loop: its cost is more than the square of the length.
_MAX_REPAIRS = 2
_MAX_REPAIRED = 2_000
_MAX_BRACKETS = 16
_MAX_QUOTES = 120

_NAME = r"(?:\w{1,20}:)?(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)"
#: Ends of thoughts: tags of most models, [/THINK] of Mistral, the last channel of gpt-oss.
_THOUGHT_END = re.compile(rf"</{_NAME}\s*>|\[/THINK\]|<\|channel\|>final[^<{{]{{0,100}}<\|message\|>", re.IGNORECASE)
_THOUGHT_START = re.compile(rf"<{_NAME}(?:\s[^<>]{{0,500}})?>|\[THINK\]|<\|channel\|>analysis", re.IGNORECASE)
#: Beginning of an object, not of a remark in braces.
_OBJECT_START = re.compile(r"""\{\s*["'“]""")
_STRUCTURE = re.compile(r'[{}"]|\\.', re.DOTALL)

_decoder = json.JSONDecoder(strict=False)


class UnfinishedObject(ValueError):
    """The last object of the text has no end."""


def without_thoughts(text: str) -> str:
    """Returns what follows the last closed thought, up to an unclosed one; all of a text without thoughts."""
    position = 0
    for end in _THOUGHT_END.finditer(text):
        position = end.end()
    text = text[position:]
    unclosed = _THOUGHT_START.search(text)
    return text[: unclosed.start()] if unclosed else text


def written_objects(text: str) -> list[dict[str, Any]]:
    """Returns the outermost objects of a text, in order. Raises UnfinishedObject if the last one has no end.

    An object that is not JSON is repaired if it is short: names or texts in other quotes, trailing commas, comments,
    literals of Python. Nothing is added to an object without its end.
    """
    return list(_objects(text[:MAX_LENGTH]))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    start, left, repairs = 0, _MAX_READ, _MAX_REPAIRS
    for _ in range(_MAX_POSITIONS):
        start = text.find("{", start)
        if start < 0 or left < 0:
            return
        try:
            found, start = _decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            left -= len(text) - start
        else:
            yield found
            continue
        is_object = _OBJECT_START.match(text, start) is not None
        # An object is skipped, so that each part of the text is read once; a remark is not.
        end = _end_of(text, start, len(text) if is_object else start + _MAX_REPAIRED)
        if end is None and is_object:
            raise UnfinishedObject
        repaired = None
        if end is not None and repairs and _is_cheap(text[start:end]):
            repairs -= 1
            repaired = _repaired(text[start:end])
        if repaired:
            yield repaired
        # What a broken object contains is no answer.
        start = end if end is not None and is_object else start + 1


def _end_of(text: str, start: int, limit: int) -> int | None:
    """Returns the end of the object at `start`; None without one before `limit`. Braces in texts do not count."""
    depth, in_text = 0, False
    for found in _STRUCTURE.finditer(text, start, limit):
        match found[0]:
            case '"':
                in_text = not in_text
            case "{" if not in_text:
                depth += 1
            case "}" if not in_text:
                depth -= 1
                if depth == 0:
                    return found.end()
    return None


def _is_cheap(text: str) -> bool:
    brackets, quotes = text.count("{") + text.count("["), sum(map(text.count, "\"'“`"))
    return len(text) <= _MAX_REPAIRED and brackets <= _MAX_BRACKETS and quotes <= _MAX_QUOTES


def _repaired(text: str) -> dict[str, Any] | None:
    from json_repair import repair_json  # noqa: PLC0415 - most answers need no repair

    try:
        found = repair_json(text, return_objects=True, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
