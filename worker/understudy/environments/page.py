"""Pages: bounded plain data read from HTML, small enough to store with every interaction."""

import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self, TypeVar

from understudy.domain.simulation import Json

#: NUL, lone surrogates and other control characters, which PostgreSQL or strict JSON rejects.
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

TEXT_CHARS = 20_000
#: Most characters of the whole text, which success conditions look at.
WHOLE_CHARS = 1_000_000


def words(text: str) -> frozenset[str]:
    """Returns the set of words of `text`, to write lists of names."""
    return frozenset(text.split())


def clean(text: str) -> str:
    """Returns `text` without characters that cannot be stored."""
    return _UNSTORABLE.sub("", text)


def tidy(text: str, limit: int) -> str:
    """Returns `text` on one line with normalised whitespace, at most `limit` characters."""
    if len(text) > limit * 4:
        # More words than fit are not split. Blanks do not count: a text may begin with many.
        text = " ".join(text.split(None, limit)[:limit])
    return clean(" ".join(text.split()))[:limit].rstrip()


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
    enctype: str = ""
    #: `formnovalidate` of a submit button.
    unchecked: bool = False
    #: Type of an input, if it is not text; tells how its value is cleaned and checked.
    type: str = ""
    #: What the value is checked against: pattern, min, max, step, minlength, maxlength and the like.
    rules: Mapping[str, str] = field(default_factory=dict)
    #: Indexes of the default options of a select that accepts several.
    picked: tuple[int, ...] = ()
    multiple: bool = False
    #: Indexes of options that are chosen at first but disabled: they are neither sent nor offered.
    barred: tuple[int, ...] = ()
    #: Position of each radio button among all fields of the page.
    orders: tuple[int, ...] = ()
    #: Name under which the direction of the text is sent, and the direction: ltr, rtl or auto.
    dirname: str = ""
    direction: str = ""

    def to_json(self) -> dict[str, Any]:
        return _sparse(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        known = {name: data[name] for name in data.keys() & _CONTROL_FIELDS}
        for name in ("options", "sends", "picked", "barred", "orders"):
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
    #: Encoding of what is sent.
    charset: str = "utf-8"
    #: Sent as `text/plain`.
    plain: bool = False
    #: Some of its fields are beyond the bounds of a page: it is not sent in part.
    cut: bool = False


#: Fields of a form that older workers do not know: they are stored apart.
_FORM_DETAILS = ("charset", "plain", "cut")


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
    #: The rest of a long page's text, which is not shown; success conditions look at it too.
    rest: str = ""
    #: Something of the page is left out of text, headings or controls.
    cut: bool = False
    #: The page shows its content only with JavaScript.
    needs_scripts: bool = False

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
            "forms": [_without_details(form) for form in self.forms],
            **({"form_details": details} if any(details := [_details(form) for form in self.forms]) else {}),
            **({"rest": pack(self.rest)} if self.rest else {}),
            **({"cut": True} if self.cut else {}),
            **({"needs_scripts": True} if self.needs_scripts else {}),
            **({"places": list(self.places)} if self.places else {}),
        }

    @classmethod
    def from_json(cls, data: Json) -> Self:
        return cls(
            title=data["title"],
            text=data["text"],
            headings=tuple(data["headings"]),
            controls=tuple(Control.from_json(control) for control in data["controls"]),
            forms=tuple(map(_form, data["forms"], data.get("form_details") or [{}] * len(data["forms"]))),
            rest=unpack(data["rest"]) if "rest" in data else "",
            cut=data.get("cut", False),
            needs_scripts=data.get("needs_scripts", False),
            places=tuple(data.get("places", ())),
        )


def with_text(page: Page, text: str) -> Page:
    """Returns the page with its text, of which the beginning is shown."""
    shown = text[:TEXT_CHARS].rstrip()
    return replace(
        page,
        text=shown,
        rest=text[len(shown) : WHOLE_CHARS].rstrip(),
        cut=page.cut or len(text) > TEXT_CHARS,
    )


_T = TypeVar("_T", Control, Form)


def _sparse(item: _T) -> dict[str, Any]:
    """Returns the fields that differ from their defaults, a small part of most controls."""
    found: dict[str, Any] = {}
    for spec in fields(item):
        value = getattr(item, spec.name)
        default = {} if spec.name == "rules" else spec.default
        if default is MISSING or value != default:
            found[spec.name] = list(value) if isinstance(value, tuple) else value
    return found


def _form(known: Mapping[str, Any], details: Mapping[str, Any]) -> Form:
    return Form(**known, **details)


def _details(form: Form) -> dict[str, Any]:
    return {name: value for name, value in _sparse(form).items() if name in _FORM_DETAILS}


def _without_details(form: Form) -> dict[str, Any]:
    return {name: value for name, value in _sparse(form).items() if name not in _FORM_DETAILS}


def pack(text: str) -> str:
    """Returns a long text as a short one for JSON."""
    return b64encode(zlib.compress(text.encode())).decode()


def unpack(packed: str) -> str:
    """Returns the text that was packed."""
    return zlib.decompress(b64decode(packed)).decode()
