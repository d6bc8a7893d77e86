"""Characters that act on a terminal, or that change how the text around them reads, and their escapes."""

import re

#: Control characters except line break and tab, separators of lines, marks of text direction, and invisible
#: characters. The joiners, which some languages and pictures need, are not among them.
UNPRINTABLE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f"
)
_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}]")


def escape_text(text: str) -> str:
    r"""Returns `text` with an escape for each unprintable character, such as `\x1b`."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def escape_json(text: str) -> str:
    r"""Returns the same JSON value with an escape for each unprintable character, such as `\u001b`."""
    return _UNPRINTABLE.sub(_json_escape, text)


def _json_escape(found: re.Match[str]) -> str:
    return "".join(f"\\u{unit:04x}" for unit in memoryview(found[0].encode("utf-16-le")).cast("H"))
