"""Typed text: text that participants typed, and the pages that may only repeat it."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from operator import eq
from typing import Any, Self
from urllib.parse import unquote_plus, urlsplit

from understudy.domain.simulation import Action, Element, Observation
from understudy.domain.text import sanitize

#: Maximum characters that are remembered; the latest texts are kept.
MAX_TYPED_CHARS = 20_000
#: Maximum pages that are remembered as answers to forms.
_MAX_EARLIER = 20
#: A page repeats a longer text already if it has this many of its first characters: sites shorten what they repeat.
_HEAD_CHARS = 20
#: Shorter ASCII texts are repeated only as whole words: one digit is part of most numbers.
_MIN_PART_CHARS = 3
#: Sites encode an address twice when they pass it on.
_DECODINGS = 2


def normalize(text: str) -> str:
    """Returns `text` for comparisons: the same for any case, any whitespace and any composition of accents."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


@dataclass(frozen=True, slots=True)
class TypedText:
    """The texts that a lineage typed so far, with all that tells where a site may only repeat them."""

    #: Latest last.
    texts: tuple[str, ...] = ()
    #: Form and text, typed on the current page.
    entered: tuple[tuple[int | None, str], ...] = ()
    #: Sent with the form that the current page answers.
    answered: tuple[str, ...] = ()
    #: Addresses of pages that answered forms; an action can go back to them.
    earlier: tuple[str, ...] = ()
    #: Label of the link that led to the current page; empty if none did.
    link: str = ""

    @classmethod
    def of_history(cls, history: Iterable[Mapping[str, Any]]) -> Self:
        """Returns what `history` shows: all texts of its forms, each of which the current page may repeat."""
        typed = cls()
        for past in history:
            if past["action"].get("kind") == "fill" and isinstance(past["action"].get("value"), str):
                typed = typed._with(None, past["action"]["value"])
        return replace(typed, entered=(), answered=typed.texts)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            texts=tuple(data["texts"]),
            entered=tuple((form, text) for form, text in data["entered"]),
            answered=tuple(data["answered"]),
            earlier=tuple(data["earlier"]),
            link=data["link"],
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "texts": list(self.texts),
            "entered": [list(each) for each in self.entered],
            "answered": list(self.answered),
            "earlier": list(self.earlier),
            "link": self.link,
        }

    def after(self, action: Action, before: Observation, result: Observation) -> Self:
        """Returns the typed text after `action` on the page `before` led to `result`."""
        target = next((element for element in before.elements if element.number == action.element), None)
        typed = self
        if action.kind == "fill" and isinstance(action.value, str):
            typed = typed._with(target.form if target else None, action.value)
        if _page(before) == _page(result) or action.kind in ("wait", "scroll"):
            return typed
        address = _without_fragment(result.url)
        link = ""
        if action.kind == "follow":
            answered: tuple[str, ...] = ()
            link = target.label if target else action.target
        elif action.kind == "back":
            # Which of the texts it repeats was not kept.
            answered = typed.texts if address in typed.earlier else ()
        else:
            answered = tuple(typed._sent_with(target, before.elements))
        earlier = tuple(each for each in typed.earlier if each != address)
        if answered:
            earlier = (*earlier, address)[-_MAX_EARLIER:]
        return replace(typed, entered=(), answered=answered, earlier=earlier, link=link)

    def repeated_by(self, seen: Observation) -> tuple[str, ...]:
        """Returns the texts that the current page may only repeat: of the form it answers, or in its address."""
        in_address = (text for text in self.texts if self._is_in_address(text, seen.url))
        return tuple(dict.fromkeys((*self.answered, *in_address)))

    def _with(self, form: int | None, text: str) -> Self:
        text = sanitize(text)[:MAX_TYPED_CHARS]
        if not text.strip():
            return self
        texts = (*(each for each in self.texts if each != text), text)
        sizes = list(accumulate(len(each) for each in reversed(texts)))
        texts = texts[sum(size > MAX_TYPED_CHARS for size in sizes) :]
        entered = (*(each for each in self.entered if each[1] in texts and each != (form, text)), (form, text))
        return replace(self, texts=texts, entered=entered)

    def _sent_with(self, pressed: Element | None, elements: Iterable[Element]) -> Iterator[str]:
        """Yields the texts in the form of a control: typed on this page, or in its fields from an earlier one."""
        form = pressed.form if pressed else None
        yield from (text for of, text in self.entered if pressed is None or of == form)
        values = {normalize(element.value) for element in elements if element.form == form and element.value}
        yield from (text for text in self.texts if normalize(text) in values)

    def _is_in_address(self, text: str, url: str) -> bool:
        wanted, parts = normalize(text), urlsplit(url)
        if _carries(f"{parts.query}#{parts.fragment}", wanted):
            return True
        # Sites name pages by their subjects: /product/mug, under a link "Mug".
        is_subject = " " not in wanted and wanted in normalize(self.link)
        return not is_subject and _carries(parts.path, wanted)


def shows(text: str, wanted: str, repeated: Iterable[str]) -> bool:
    """Returns whether `text` has `wanted` with at least one letter or digit that does not repeat a typed text."""
    text, wanted = normalize(text), normalize(wanted)
    if not wanted or wanted not in text:
        return False
    covered = _covered(text, [echo for echo in map(normalize, repeated) if echo])
    if not any(covered):
        return True
    counts = str.isalnum if any(map(str.isalnum, wanted)) else str.isprintable
    own = [0, *accumulate(counts(char) and not hidden for char, hidden in zip(text, covered, strict=True))]
    start = text.find(wanted)
    while start >= 0:
        if own[start + len(wanted)] > own[start]:
            return True
        start = text.find(wanted, start + 1)
    return False


def _covered(text: str, echoes: Iterable[str]) -> bytearray:
    """Returns 1 for each character of `text` that is part of an echo. All are normalised."""
    covered = bytearray(len(text))
    for echo in echoes:
        for start, end in _occurrences(text, echo):
            covered[start:end] = b"\1" * (end - start)
    return covered


def _occurrences(text: str, echo: str) -> Iterator[tuple[int, int]]:
    start = text.find(echo[:_HEAD_CHARS])
    while start >= 0:
        end = start + len(echo)
        if len(echo) > _HEAD_CHARS:
            end = start + sum(1 for _ in takewhile(bool, map(eq, text[start:end], echo)))
        if len(echo) >= _MIN_PART_CHARS or not echo.isascii() or _is_word(text, start, end):
            yield start, end
        # Long echoes do not overlap: their cost would be the square of their length.
        start = text.find(echo[:_HEAD_CHARS], end if len(echo) > _HEAD_CHARS else start + 1)


def _is_word(text: str, start: int, end: int) -> bool:
    return not text[max(start - 1, 0) : start].isalnum() and not text[end : end + 1].isalnum()


def _carries(part: str, wanted: str) -> bool:
    for _ in range(_DECODINGS):
        part = unquote_plus(part)
        if any(end - start == len(wanted) for start, end in _occurrences(normalize(part), wanted)):
            return True
    return False


def _page(seen: Observation) -> tuple[str, str, str]:
    return _without_fragment(seen.url), seen.title, seen.text if seen.whole is None else seen.whole


def _without_fragment(url: str) -> str:
    return url.partition("#")[0]
