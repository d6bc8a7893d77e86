"""Pages: bounded plain data read from HTML, small enough to store with every interaction."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, Self, TypeVar

from understudy.domain.simulation import Json

#: NUL, lone surrogates and other control characters, which PostgreSQL or strict JSON rejects.
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def words(text: str) -> frozenset[str]:
    """Returns the set of words of `text`, to write lists of names."""
    return frozenset(text.split())


def clean(text: str) -> str:
    """Returns `text` without characters that cannot be stored."""
    return _UNSTORABLE.sub("", text)


def tidy(text: str, limit: int) -> str:
    """Returns `text` on one line with normalised whitespace, at most `limit` characters."""
    # Truncate before splitting: do not scan a megabyte of blanks.
    return clean(" ".join(text[: limit * 4].split()))[:limit].rstrip()


@dataclass(slots=True)
class Control:
    """A link or form control as its author wrote it. Do not change it once it is in a Page."""

    #: link, button, text, textarea, select, checkbox, radio, or hidden
    kind: str
    label: str = ""
    #: Number that actions refer to; 0 for a hidden field.
    number: int = 0
    href: str = ""
    #: Name in the submitted form; empty: not submitted.
    name: str = ""
    #: Default value; submitted value of a button, checkbox or hidden field.
    value: str = ""
    #: Labels of the options of a select or radio group, and their submitted values.
    options: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    #: Index of the default option, -1 for none; 1 for a box checked by default.
    chosen: int = -1
    form: int | None = None
    required: bool = False
    #: submit, reset or button; empty for other controls.
    role: str = ""
    #: Choosing an option submits the form at once.
    sends_form: bool = False
    #: Not reachable with the keyboard.
    pointer_only: bool = False
    #: Values of a submit button that override those of its form.
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
    """The target and encoding of a form."""

    action: str
    method: str = "get"
    multipart: bool = False
    #: `novalidate`: required fields are not checked before submitting.
    unchecked: bool = False


@dataclass(frozen=True)
class Page:
    """One page as a person sees it."""

    title: str = ""
    text: str = ""
    headings: tuple[str, ...] = ()
    controls: tuple[Control, ...] = ()
    forms: tuple[Form, ...] = ()
    #: Offset of each control in `text`; only for people who see one part of a page at a time.
    places: tuple[int, ...] = ()
    #: Target of an automatic refresh, or empty. Followed on arrival, not stored.
    refresh: str = field(default="", compare=False)

    @cached_property
    def by_number(self) -> dict[int, Control]:
        return {control.number: control for control in self.controls if control.number}

    @cached_property
    def as_json(self) -> Json:
        """JSON for `from_json`. Cached: the snapshot of each interaction on the page contains it."""
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
    """Returns the fields that differ from their defaults, a small part of most controls."""
    found: dict[str, Any] = {}
    for spec in fields(item):
        value = getattr(item, spec.name)
        if spec.default is MISSING or value != spec.default:
            found[spec.name] = list(value) if isinstance(value, tuple) else value
    return found
