"""Redaction: removes the secrets that a chatbot got from what it says.

It finds a secret in these forms: as it is; escaped for a URL, HTML or JSON, also twice; as hexadecimal or base64
text at any alignment; in other case; and split by anything but ASCII letters and digits. It is no barrier: a bot that
has a secret can write it in a way that nobody foresees, such as backwards.
"""

import base64
import binascii
import html
import re
from collections.abc import Iterable, Iterator

REPLACEMENT = "[secret]"
#: Letters and digits from which a part of a secret is redacted; shorter ones occur in normal text.
MIN_LETTERS = 8
#: Longer texts with a secret are withheld as a whole: to find each place takes too long.
_MAX_SEARCHED_CHARS = 50_000
#: An escape may contain another one.
_LAYERS = 3

_OTHER = re.compile(r"[^A-Za-z0-9]+")
_ESCAPE = re.compile(
    r"%(?:25)*([0-9A-Fa-f]{2})"
    r"|(&(?:#[xX]0*[0-9A-Fa-f]{1,6}|#0*[0-9]{1,7}|[A-Za-z][A-Za-z0-9]{1,30});?)"
    r"|\\{1,8}(?:u00|u\{0*|x)([0-9A-Fa-f]{2})\}?"
    r"|\\[nrtbf]"
    r"|<[^<>]{1,200}>"
)


class Redactor:
    """Replaces secrets in texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        needles = {needle for secret in secrets for needle in _needles(secret)}
        # Longest first: a form of a whole value contains the forms of its parts.
        self._needles = sorted(needles, key=len, reverse=True)

    def redact(self, text: str) -> str:
        """Returns `text` without the secrets. A long text that has one is replaced as a whole."""
        readings = [reading for reading in _readings(text) if self._is_in(reading)] if self._needles else []
        if not readings:
            return text
        if len(text) > _MAX_SEARCHED_CHARS:
            return REPLACEMENT
        found = sorted(span for layers in range(_LAYERS + 1) for span in self._spans(text, layers))
        parts, end = [], 0
        for first, last in found:
            if first >= end:
                parts += [text[end:first], REPLACEMENT]
            end = max(end, last)
        return "".join((*parts, text[end:]))

    def _is_in(self, reading: str) -> bool:
        letters = _letters(reading)
        return any(needle in letters for needle in self._needles)

    def _spans(self, text: str, layers: int) -> Iterator[tuple[int, int]]:
        """Yields where secrets are in `text`, read with so many layers of escapes."""
        units = [(letter, at, at + 1) for at, letter in enumerate(text)]
        for _ in range(layers):
            units = _unescaped_units(units)
        kept = [unit for unit in units if unit[0].isascii() and unit[0].isalnum()]
        letters = "".join(unit[0] for unit in kept).lower()
        for needle in self._needles:
            at = letters.find(needle)
            while at >= 0:
                yield kept[at][1], kept[at + len(needle) - 1][2]
                at = letters.find(needle, at + 1)


def letters_of(text: str) -> int:
    """Returns the letters and digits of the longest word of `text`: what redaction can go by."""
    return max((len(_letters(word)) for word in text.split()), default=0)


def _letters(text: str) -> str:
    return _OTHER.sub("", text).lower()


def _needles(secret: str) -> Iterator[str]:
    for part in {secret, *secret.split(), *_decoded(secret)}:
        if len(_letters(part)) >= MIN_LETTERS:
            data = part.encode()
            for form in (part, data.hex(), *_base64_forms(data)):
                yield _letters(form)
            # A reading with escapes turns the secret's own into something else.
            for reading in _readings(part):
                if len(_letters(reading)) >= MIN_LETTERS:
                    yield _letters(reading)


def _decoded(secret: str) -> Iterator[str]:
    """Yields user:password and password of Basic credentials."""
    for word in secret.split():
        try:
            text = base64.b64decode(word, validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            continue
        if text.isprintable():
            yield from (text, text.partition(":")[2])


def _base64_forms(data: bytes) -> Iterator[str]:
    """Yields what is the same in every base64 text that contains `data`, at each of three alignments."""
    for shift, first in enumerate((0, 2, 3)):
        whole = base64.b64encode(b"\0" * shift + data).decode()
        yield whole[first : (shift + len(data)) * 8 // 6]


def _readings(text: str) -> Iterator[str]:
    """Yields `text` as it is and with its escapes replaced, layer by layer."""
    yield text
    for _ in range(_LAYERS):
        unescaped = _ESCAPE.sub(_character, text)
        if unescaped == text:
            return
        text = unescaped
        yield text


def _character(match: re.Match[str]) -> str:
    url, entity, code = match[1], match[2], match[3]
    if entity:
        return html.unescape(entity if entity.endswith(";") else f"{entity};")
    return chr(int(url or code, 16)) if url or code else ""


def _unescaped_units(units: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Returns the characters of `units` with escapes replaced, each with its place in the original text."""
    text = "".join(unit[0] for unit in units)
    replaced: list[tuple[str, int, int]] = []
    end = 0
    for match in _ESCAPE.finditer(text):
        replaced += units[end : match.start()]
        end = match.end()
        replaced += [(letter, units[match.start()][1], units[end - 1][2]) for letter in _character(match)]
    return replaced + units[end:]
