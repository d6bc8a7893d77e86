"""Pages: what is taken down of HTML when it arrives, small enough to be stored with every interaction."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, Self, TypeVar

from understudy.domain.simulation import Json

#: NUL, lone surrogates and other controls: neither PostgreSQL nor strict JSON takes them.
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def words(text: str) -> frozenset[str]:
    """The words of `text`, for lists of names."""
    return frozenset(text.split())


def clean(text: str) -> str:
    """`text` without what cannot be stored."""
    return _UNSTORABLE.sub("", text)


def tidy(text: str, limit: int) -> str:
    """`text` on one line, whitespace normalised, at most `limit` characters."""
    # Cut before splitting, too: a megabyte of blanks is not worth looking at.
    return clean(" ".join(text[: limit * 4].split()))[:limit].rstrip()


@dataclass(slots=True)
class Control:
    """A link, or something in a form, as its author wrote it. Not changed any more once it is in a Page."""

    #: link, button, text, textarea, select, checkbox, radio, or hidden
    kind: str
    label: str = ""
    #: What an Action calls it; 0 for what nobody sees but the form sends.
    number: int = 0
    href: str = ""
    #: Under which name it is sent; empty: never sent.
    name: str = ""
    #: Its first value; what a button, a checkbox or a hidden field sends.
    value: str = ""
    #: Labels of what a select or a radio group offers, and what each of them sends.
    options: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    #: Index of the option chosen at first, -1 for none; 1 for a box checked at first.
    chosen: int = -1
    form: int | None = None
    required: bool = False
    #: submit, reset or button; for a button only.
    role: str = ""
    #: Choosing here sends the form at once.
    sends_form: bool = False
    #: Out of reach of a keyboard.
    pointer_only: bool = False
    #: What a submit button says instead of its form.
    action: str = ""
    method: str = ""

    def to_json(self) -> dict[str, Any]:
        return _sparse(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        known = {name: data[name] for name in data.keys() & _CONTROL_FIELDS}
        for name in ("options", "sends"):
            if name in known:
                known[name] = tuple(known[name])
        return cls(**known)


_CONTROL_FIELDS = frozenset(f.name for f in fields(Control))


@dataclass(frozen=True, slots=True)
class Form:
    """Where a form is sent, and how."""

    action: str
    method: str = "get"
    multipart: bool = False
    #: The author does not want required fields to be checked before sending.
    unchecked: bool = False


@dataclass(frozen=True)
class Page:
    """One page, as a person sees it."""

    title: str = ""
    text: str = ""
    headings: tuple[str, ...] = ()
    controls: tuple[Control, ...] = ()
    forms: tuple[Form, ...] = ()
    #: Where in `text` each control stands, for who sees a part at a time; of a page for others: nothing.
    places: tuple[int, ...] = ()
    #: Where the page sends its visitors on by itself, if it does. Acted upon at arrival, not stored.
    refresh: str = field(default="", compare=False)

    @cached_property
    def by_number(self) -> dict[int, Control]:
        return {control.number: control for control in self.controls if control.number}

    @cached_property
    def as_json(self) -> Json:
        """What `from_json` takes. Made once: it goes into the snapshot of each interaction on the page."""
        return {
            "title": self.title,
            "text": self.text,
            "headings": list(self.headings),
            "controls": [control.to_json() for control in self.controls],
            "forms": [_sparse(form) for form in self.forms],
            **({"places": list(self.places)} if self.places else {}),
        }

    @classmethod
    def from_json(cls, data: Json) -> Self:
        return cls(
            title=data["title"],
            text=data["text"],
            headings=tuple(data["headings"]),
            controls=tuple(Control.from_json(control) for control in data["controls"]),
            forms=tuple(Form(**form) for form in data["forms"]),
            places=tuple(data.get("places", ())),
        )


_T = TypeVar("_T", Control, Form)


def _sparse(item: _T) -> dict[str, Any]:
    """The fields that differ from their defaults: most of a link's do not."""
    found: dict[str, Any] = {}
    for spec in fields(item):
        value = getattr(item, spec.name)
        if spec.default is MISSING or value != spec.default:
            found[spec.name] = list(value) if isinstance(value, tuple) else value
    return found
