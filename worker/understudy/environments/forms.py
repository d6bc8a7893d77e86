"""Forms: the values that a person has entered, and the request that submits them."""

import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from understudy.domain.simulation import Element, Json
from understudy.environments.page import Control, Page, clean

_TYPED_CHARS = 10_000
#: Maximum bytes that a person types into the fields of one page.
_TYPED_BYTES = 65_536


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
            # An index for a select or radio group, a boolean for a checkbox, a text for the rest.
            self._filled[int(number)] = value

    def as_json(self) -> Json:
        return {str(number): value for number, value in self._filled.items()}

    def elements(self) -> tuple[Element, ...]:
        """Returns all elements that accept actions, with their current values."""
        return tuple(
            Element(
                number=control.number,
                kind=control.kind,
                label=f"{control.label} (required)" if control.required else control.label,
                href=control.href,
                value=self._shown(control),
                options=control.options,
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
        self._filled[control.number] = text if control.kind == "textarea" else re.sub(r"[\r\n]+", " ", text)

    def choose(self, number: int | None, value: str | None) -> Control:
        """Chooses the option with this label or submitted value, ignoring case."""
        control = self.control(number, "select", "radio")
        wanted = _folded(value or "")
        for names in (control.options, control.sends):
            for index, option in enumerate(names):
                if _folded(option) == wanted:
                    self._filled[control.number] = index
                    return control
        raise ActionNotPossible(f'"{control.label}" does not offer "{clean(value or "")[:100]}".')

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
        if pressed.kind != "button":
            buttons = (c for c in self._controls(pressed.form) if c.kind == "button" and c.role == "submit")
            pressed = next(buttons, pressed)
        return self.sent_by(pressed)

    def sent_by(self, pressed: Control) -> PageRequest:
        """Returns the request that submits the form of `pressed`. Raises ActionNotPossible without one."""
        if pressed.form is None:
            raise ActionNotPossible(f'"{pressed.label}" belongs to no form that could be sent.')
        form = self._page.forms[pressed.form]
        if not form.unchecked:
            missing = [control.label for control in self._controls(pressed.form) if self._is_missing(control)]
            if missing:
                raise ActionNotPossible(f"Please fill in: {', '.join(missing)[:500]}.")
        entries = self._entries(pressed)
        url = pressed.action or form.action
        method = pressed.method or form.method
        if method == "dialog":
            raise ActionNotPossible(f'Nothing happened on pressing "{pressed.label}".')
        if method != "post":
            return PageRequest(_with_query(url, urlencode(entries)))
        if form.multipart:
            boundary = secrets.token_hex(16)
            return PageRequest(url, "POST", _multipart(entries, boundary), f"multipart/form-data; boundary={boundary}")
        return PageRequest(url, "POST", urlencode(entries).encode(), "application/x-www-form-urlencoded")

    def _controls(self, form: int) -> list[Control]:
        return [control for control in self._page.controls if control.form == form]

    def _entries(self, pressed: Control) -> list[tuple[str, str]]:
        entries: list[tuple[str, str]] = []
        for control in self._controls(pressed.form if pressed.form is not None else -1):
            if not control.name:
                continue
            if control.kind in ("select", "radio"):
                index = self._index(control)
                if index >= 0:
                    entries.append((control.name, control.sends[index]))
            elif control.kind == "checkbox":
                if self._is_checked(control):
                    entries.append((control.name, control.value))
            elif control.kind != "button" or control is pressed:
                entries.append((control.name, self._text(control)))
        return entries

    def _text(self, control: Control) -> str:
        return str(self._filled.get(control.number, control.value)) if control.number else control.value

    def _index(self, control: Control) -> int:
        index = self._filled.get(control.number, control.chosen)
        return index if isinstance(index, int) and -1 <= index < len(control.options) else -1

    def _is_checked(self, control: Control) -> bool:
        return bool(self._filled.get(control.number, control.chosen > 0))

    def _shown(self, control: Control) -> str:
        if control.kind in ("select", "radio"):
            index = self._index(control)
            return control.options[index] if index >= 0 else ""
        if control.kind == "checkbox":
            return "on" if self._is_checked(control) else ""
        return self._text(control) if control.kind in ("text", "textarea") else ""

    def _is_missing(self, control: Control) -> bool:
        if not control.required:
            return False
        if control.kind in ("select", "radio"):
            index = self._index(control)
            return index < 0 or not control.sends[index]
        if control.kind == "checkbox":
            return not self._is_checked(control)
        return not self._text(control)

    def _reset(self, form: int) -> None:
        for control in self._controls(form):
            self._filled.pop(control.number, None)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _with_query(url: str, query: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _multipart(entries: list[tuple[str, str]], boundary: str) -> bytes:
    parts = []
    for name, value in entries:
        quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{quoted}"\r\n\r\n{value}\r\n')
    return ("".join(parts) + f"--{boundary}--\r\n").encode()
