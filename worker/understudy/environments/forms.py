"""Forms: what a person has filled in and not yet sent, and what sending it means."""

import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from understudy.domain.simulation import Element, Json
from understudy.environments.page import Control, Page, clean

_TYPED_CHARS = 10_000


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request to be made."""

    url: str
    method: str = "GET"
    body: bytes | None = None
    content_type: str = ""


class ActionNotPossible(Exception):
    """The action does not fit what is on the page. Its text is what the person notices."""


class Forms:
    """The forms of one page as they stand. Values go by control number; absent = as the author left it."""

    def __init__(self, page: Page, filled: Json | None = None) -> None:
        self._page = page
        self._filled: dict[int, Any] = {}
        for number, value in (filled or {}).items():
            # A select or a radio group is kept by index, a checkbox as a truth value, the rest as text.
            self._filled[int(number)] = value

    def as_json(self) -> Json:
        return {str(number): value for number, value in self._filled.items()}

    def elements(self) -> tuple[Element, ...]:
        """Everything that can be acted on, with the values it holds now."""
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
        """The control of that number. Raises Misfit if there is none, or it is of no such kind."""
        control = self._page.by_number.get(number) if number is not None else None
        if control is None:
            raise ActionNotPossible("There is no such thing on this page.")
        if control.kind not in kinds:
            raise ActionNotPossible(f'"{control.label}" is a {control.kind}: that can\'t be done with it.')
        return control

    def fill(self, number: int | None, value: str | None) -> None:
        control = self.control(number, "text", "textarea")
        text = clean(value or "")[:_TYPED_CHARS]
        self._filled[control.number] = text if control.kind == "textarea" else re.sub(r"[\r\n]+", " ", text)

    def choose(self, number: int | None, value: str | None) -> Control:
        """Pick the option of that label (or that is sent as `value`), whatever its case."""
        control = self.control(number, "select", "radio")
        wanted = _folded(value or "")
        for offered in (control.options, control.sends):
            for index, option in enumerate(offered):
                if _folded(option) == wanted:
                    self._filled[control.number] = index
                    return control
        raise ActionNotPossible(f'"{control.label}" does not offer "{clean(value or "")[:100]}".')

    def check(self, number: int | None, value: str | None) -> None:
        """Tick a box; with a value of "off", untick it."""
        control = self.control(number, "checkbox")
        self._filled[control.number] = _folded(value or "on") not in ("off", "false", "no", "0")

    def press(self, number: int | None) -> PageRequest:
        """What pressing a button sends, or Enter in a field. Raises Misfit where nothing is sent."""
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
        """The request that sends the form `pressed` belongs to."""
        if pressed.form is None:
            raise ActionNotPossible(f'"{pressed.label}" belongs to nothing that could be sent.')
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
            return PageRequest(
                url, "POST", _multipart(entries, boundary), f"multipart/form-data; boundary={boundary}"
            )
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
