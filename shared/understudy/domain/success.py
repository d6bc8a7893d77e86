"""Success: tells whether the condition of an assignment holds."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from understudy.domain.simulation import ElementCondition, Observation, Success
from understudy.domain.typed_text import TypedText, normalize, shows

#: Roles of an element condition, and the kinds of Element that have them.
ROLES: dict[str, tuple[str, ...]] = {
    "button": ("button",),
    "checkbox": ("checkbox",),
    "combobox": ("select",),
    "heading": (),
    "link": ("link",),
    "radio": ("radio",),
    "textbox": ("text", "textarea"),
}


def success_from_json(data: Mapping[str, Any] | None) -> Success | None:
    """Returns the success condition of a stored assignment."""
    if not data:
        return None
    element = data.get("element")
    return Success(**{**data, "element": ElementCondition(**element) if element else None})


def succeeded(
    success: Success | None, seen: Observation, typed: TypedText, matches: Callable[[str, str], bool]
) -> bool:
    """Returns whether the success condition holds now: all given parts hold, and one that is not `text_absent`.

    `matches(pattern, url)` decides `url_matches`, in linear time.
    """
    if success is None:
        return False
    # In a chat only the bot's text counts, not the person's; what the bot says, it says by itself.
    whole = seen.text if seen.whole is None else seen.whole
    text = whole if seen.news is None else seen.news
    repeated = typed.repeated_by(seen) if seen.news is None else ()
    required = {
        "url_contains": success.url_contains is None or success.url_contains in seen.url,
        "url_matches": success.url_matches is None or matches(success.url_matches, seen.url),
        "text_contains": success.text_contains is None or shows(text, success.text_contains, repeated),
        "element": success.element is None or _has_element(seen, success.element, repeated),
    }
    if all(getattr(success, name) is None for name in required) or not all(required.values()):
        return False
    return success.text_absent is None or normalize(success.text_absent) not in normalize(text)


def _has_element(seen: Observation, wanted: ElementCondition, repeated: Iterable[str]) -> bool:
    kinds = ROLES.get(wanted.role, ())
    names = [name for element in seen.elements if element.kind in kinds for name in (element.label, *_options(element))]
    if wanted.role == "heading":
        names = list(seen.headings)
    return any(shows(name, wanted.name, repeated) for name in names)


def _options(element: Any) -> tuple[str, ...]:
    return element.options if element.kind == "radio" else ()
