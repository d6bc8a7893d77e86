"""Forms: the values that a person has entered, and the request that submits them."""

import re
import secrets
from dataclasses import dataclass
from typing import Any

from understudy.domain.simulation import Element, Json
from understudy.environments.entry_list import entry_list, is_chosen
from understudy.environments.form_encoding import multipart, plain, urlencoded
from understudy.environments.input_values import FORMATS, RANGED, sanitize_value
from understudy.environments.page import Control, Form, Page, clean
from understudy.environments.validity import limit, utf16_length, violation

_TYPED_CHARS = 10_000
#: Maximum bytes that a person types into the fields of one page.
_TYPED_BYTES = 65_536
#: Options of a field that a person sees.
_SHOWN_OPTIONS = 300
#: Fields in which Enter sends a form without a button, if there is only one of them.
_ONE_LINE = frozenset(("", "search", "tel", "url", "email", "password", "number"))


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request to make."""

    url: str
    method: str = "GET"
    body: bytes | None = None
    content_type: str = ""


class ActionNotPossible(Exception):
    """The page does not allow the action. The person sees the message as a problem."""


class Forms:
    """Holds the forms of one page. Values are keyed by control number; a missing one means the default."""

    def __init__(self, page: Page, filled: Json | None = None) -> None:
        self._page = page
        self._filled: dict[int, Any] = {}
        for number, value in (filled or {}).items():
            # An index for a select or radio group, a list of them if it accepts several, a boolean for a
            # checkbox, a text for the rest.
            self._filled[int(number)] = value

    def as_json(self) -> Json:
        return {str(number): value for number, value in self._filled.items()}

    def elements(self) -> tuple[Element, ...]:
        """Returns all elements that accept actions, with their current values."""
        return tuple(
            Element(
                number=control.number,
                kind=control.kind,
                label=_shown_label(control),
                href=control.href,
                value=self._shown(control),
                options=self._offered(control),
                form=control.form,
            )
            for control in self._page.by_number.values()
        )

    def control(self, number: int | None, *kinds: str) -> Control:
        """Returns a control. Raises ActionNotPossible if it does not exist or is of another kind."""
        control = self._page.by_number.get(number) if number is not None else None
        if control is None:
            raise ActionNotPossible("There is no such thing on this page.")
        if control.kind not in kinds:
            raise ActionNotPossible(f'"{control.label}" is a {control.kind}: that can\'t be done with it.')
        return control

    def fill(self, number: int | None, value: str | None) -> None:
        control = self.control(number, "text", "textarea")
        text = clean(value or "")[:_TYPED_CHARS]
        others = (typed for other, typed in self._filled.items() if other != control.number and isinstance(typed, str))
        if len(text.encode()) + sum(len(typed.encode()) for typed in others) > _TYPED_BYTES:
            raise ActionNotPossible("That is more text than a person types on one page.")
        self._filled[control.number] = _typed(control, text)

    def choose(self, number: int | None, value: str | None) -> Control:
        """Chooses the option with this label or submitted value, ignoring case.

        A select that accepts several options keeps the others; choosing a chosen one again takes it back.
        """
        control = self.control(number, "select", "radio")
        wanted = _folded(value or "")
        for names in (control.options, control.sends):
            for index, option in enumerate(names):
                if _folded(option) == wanted and index not in control.barred:
                    self._filled[control.number] = self._with(control, index) if control.multiple else index
                    return control
        raise ActionNotPossible(f'"{control.label}" does not offer "{clean(value or "")[:100]}".')

    def _with(self, control: Control, index: int) -> list[int]:
        return sorted({index}.symmetric_difference(self._indexes(control)))

    def check(self, number: int | None, value: str | None) -> None:
        """Ticks a box; the value "off" unticks it."""
        control = self.control(number, "checkbox")
        self._filled[control.number] = _folded(value or "on") not in ("off", "false", "no", "0")

    def press(self, number: int | None) -> PageRequest:
        """Returns the request of a button, or of Enter in a field. Raises ActionNotPossible without one."""
        pressed = self.control(number, "button", "text", "checkbox", "radio", "select")
        if pressed.form is None or pressed.role == "button":
            raise ActionNotPossible(f'Nothing happened on pressing "{pressed.label}".')
        if pressed.role == "reset":
            self._reset(pressed.form)
            raise ActionNotPossible("The form is back to how it was at first.")
        return self.sent_by(pressed if pressed.kind == "button" else self._default_button(pressed))

    def _default_button(self, field: Control) -> Control:
        """Returns the button that Enter in the field presses; the field itself if it sends a form without one."""
        controls = self._controls(field.form)
        sends = field.kind == "text" and field.type in _ONE_LINE
        for control in controls:
            if control.role == "submit" and (control.kind == "button" or sends):
                if control.kind == "button":
                    return control
                break
        else:
            if sends and sum(c.kind == "text" and c.type in _ONE_LINE for c in controls) == 1:
                return field
        raise ActionNotPossible(f'Nothing happened on pressing Enter in "{field.label}".')

    def sent_by(self, pressed: Control) -> PageRequest:
        """Returns the request that submits the form of `pressed`. Raises ActionNotPossible without one."""
        if pressed.form is None:
            raise ActionNotPossible(f'"{pressed.label}" belongs to no form that could be sent.')
        form = self._page.forms[pressed.form]
        if form.cut:
            raise ActionNotPossible("This form is too large to be sent: the page does not fit into its bounds.")
        if not (form.unchecked or pressed.unchecked):
            self._check(pressed.form)
        if pressed.kind != "button":
            pressed = Control("", form=pressed.form)
        url = pressed.action or form.action
        method = pressed.method or form.method
        if method == "dialog":
            raise ActionNotPossible(f'Nothing happened on pressing "{pressed.label}".')
        if not url.lower().startswith(("http:", "https:")):
            raise ActionNotPossible(f"The form would be sent by another program ({clean(url)[:80]}): nothing happened.")
        entries = entry_list(self._page, pressed, self._filled)
        if method != "post":
            return PageRequest(_with_query(url, urlencoded(entries, form.charset)))
        match pressed.enctype or _enctype(form):
            case "multipart":
                boundary = secrets.token_hex(16)
                body = multipart(entries, form.charset, boundary)
                return PageRequest(url, "POST", body, f"multipart/form-data; boundary={boundary}")
            case "plain":
                return PageRequest(url, "POST", plain(entries, form.charset), "text/plain")
        body = urlencoded(entries, form.charset).encode()
        return PageRequest(url, "POST", body, "application/x-www-form-urlencoded")

    def _check(self, form: int) -> None:
        """Raises ActionNotPossible if a browser would not send the form as it is."""
        controls = self._controls(form)
        if missing := [control.label for control in controls if self._is_missing(control)]:
            raise ActionNotPossible(f"Please fill in: {', '.join(missing)[:500]}.")
        for control in controls:
            if control.kind in ("text", "textarea"):
                typed = isinstance(self._filled.get(control.number), str)
                if wrong := violation(control, self._text(control), typed=typed):
                    raise ActionNotPossible(f'"{control.label}" {wrong}.')

    def _controls(self, form: int | None) -> list[Control]:
        return [control for control in self._page.controls if control.form == form]

    def _text(self, control: Control) -> str:
        return str(self._filled.get(control.number, control.value)) if control.number else control.value

    def _indexes(self, control: Control) -> list[int]:
        filled = self._filled.get(control.number) if control.number else None
        return [index for index in range(len(control.options)) if is_chosen(control, index, filled)]

    def _offered(self, control: Control) -> tuple[str, ...]:
        if control.barred:
            return tuple(label for index, label in enumerate(control.options) if index not in control.barred)
        if len(control.options) <= _SHOWN_OPTIONS:
            return control.options
        chosen = (control.options[index] for index in self._indexes(control) if index >= _SHOWN_OPTIONS)
        return (*control.options[:_SHOWN_OPTIONS], *chosen)

    def _is_checked(self, control: Control) -> bool:
        return bool(self._filled.get(control.number, control.chosen > 0)) if control.number else control.chosen > 0

    def _shown(self, control: Control) -> str:
        if control.kind in ("select", "radio"):
            return ", ".join(control.options[index] for index in self._indexes(control))
        if control.kind == "checkbox":
            return "on" if self._is_checked(control) else ""
        return self._text(control) if control.kind in ("text", "textarea") else ""

    def _is_missing(self, control: Control) -> bool:
        if not control.required:
            return False
        if control.kind in ("select", "radio"):
            chosen = self._indexes(control)
            return not chosen or (chosen == [0] and "placeholder" in control.rules)
        if control.kind == "checkbox":
            return not self._is_checked(control)
        return not self._text(control)

    def _reset(self, form: int) -> None:
        for control in self._controls(form):
            self._filled.pop(control.number, None)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _shown_label(control: Control) -> str:
    notes = [FORMATS[control.type]] if control.type in FORMATS and control.type not in ("number", "range") else []
    notes += ["several possible"] * control.multiple + ["required"] * control.required
    return f"{control.label} ({', '.join(notes)})" if notes else control.label


def _typed(control: Control, text: str) -> str:
    """Returns what the field holds after `text` was typed. Raises ActionNotPossible if it takes no such text."""
    most = limit(control.rules.get("maxlength"))
    if control.kind == "textarea":
        return _limited(text, most)
    text = re.sub(r"[\r\n]+", " ", text)
    if control.type not in RANGED and control.type != "color":
        return _limited(sanitize_value(control.type, text, control.rules), most)
    value = sanitize_value(control.type, text.strip(), control.rules)
    if control.type == "color" and value != text.strip().lower():
        value = ""
    if text.strip() and not value:
        raise ActionNotPossible(f'"{control.label}" takes only {FORMATS[control.type]}, not "{text[:50]}".')
    return value


def _limited(text: str, most: int | None) -> str:
    """Returns as much as the field takes, in the characters of UTF-16."""
    if most is None or utf16_length(text) <= most:
        return text
    return text.encode("utf-16-le")[: most * 2].decode("utf-16-le", "ignore")


def _enctype(form: Form) -> str:
    return "multipart" if form.multipart else "plain" if form.plain else "urlencoded"


def _with_query(url: str, query: str) -> str:
    before, mark, fragment = url.partition("#")
    return f"{before.partition('?')[0]}?{query}{mark}{fragment}"
