"""Entry list: the names and values that a form sends, in the order of the page."""

from collections.abc import Iterator, Mapping
from typing import Any
from unicodedata import bidirectional

from understudy.environments.form_encoding import Entry, charset_name
from understudy.environments.page import Control, Page


def entry_list(page: Page, pressed: Control, filled: Mapping[int, Any]) -> list[Entry]:
    """Returns the entries of the form of `pressed`, as the HTML standard constructs them."""
    charset = page.forms[pressed.form].charset if pressed.form is not None else "utf-8"
    found: list[tuple[int, Entry]] = []
    for order, control in _in_order(page.controls):
        if control.form != pressed.form or (control.kind == "button" and control is not pressed):
            continue
        value = filled.get(control.number) if control.number else None
        if control.kind == "radio":
            orders = control.orders or (order,) * len(control.options)
            found += ((orders[at], entry) for at, entry in _options(control, value))
        else:
            found += ((order, entry) for entry in _entries(control, value, charset))
    # The sort keeps the order of entries of the same field.
    return [entry for _, entry in sorted(found, key=lambda item: item[0])]


def is_chosen(control: Control, index: int, filled: Any) -> bool:
    """Returns whether the option is chosen; `filled` is what the person chose, None: nothing."""
    if control.multiple:
        return index in (filled if isinstance(filled, list) else control.picked)
    return index == (filled if isinstance(filled, int) else control.chosen)


def _in_order(controls: tuple[Control, ...]) -> Iterator[tuple[int, Control]]:
    """Yields the fields with their positions in the page; those of radio buttons are taken."""
    taken = {order for control in controls for order in control.orders}
    order = -1
    for control in controls:
        if control.kind == "link":
            continue
        if control.orders:
            yield control.orders[0], control
            continue
        order += 1
        while order in taken:
            order += 1
        yield order, control


def _options(control: Control, filled: Any) -> Iterator[tuple[int, Entry]]:
    for index, value in enumerate(control.sends):
        if control.name and is_chosen(control, index, filled) and index not in control.barred:
            yield index, Entry(control.name, value)


def _entries(control: Control, filled: Any, charset: str) -> Iterator[Entry]:
    if control.type == "image":
        # Pressed with the keyboard, an image sends this place.
        prefix = f"{control.name}." if control.name else ""
        yield from (Entry(f"{prefix}x", "0"), Entry(f"{prefix}y", "0"))
        return
    if not control.name:
        return
    match control.kind:
        case "select":
            yield from (entry for _, entry in _options(control, filled))
        case "checkbox":
            if control.chosen > 0 if filled is None else filled:
                yield Entry(control.name, control.value)
        case _ if control.type == "charset":
            yield Entry(control.name, charset_name(charset))
        case _:
            value = str(filled) if isinstance(filled, str) else control.value
            yield Entry(control.name, value, is_file=control.type == "file")
            if control.direction:
                yield Entry(control.dirname, _direction(control, value))


def _direction(control: Control, value: str) -> str:
    if control.direction != "auto":
        return control.direction
    strong = (kind for kind in map(bidirectional, value) if kind in ("L", "R", "AL"))
    return "rtl" if next(strong, "L") != "L" else "ltr"
