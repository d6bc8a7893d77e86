"""Success conditions: the options of `run` that set them, and how a study shows them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.domain.errors import ValidationError

if TYPE_CHECKING:
    from understudy.envelopes.studies import Success

SuccessUrl = Annotated[str | None, typer.Option(metavar="X", help="Succeed when the page address contains X.")]
SuccessUrlMatches = Annotated[
    str | None,
    typer.Option("--success-url-matches", metavar="PATTERN", help="Succeed when PATTERN (RE2) matches the address."),
]
SuccessText = Annotated[
    str | None,
    typer.Option(metavar="X", help="Succeed when the page or the chatbot itself says X; typed text does not count."),
]
SuccessTextAbsent = Annotated[
    str | None, typer.Option("--success-text-absent", metavar="X", help="With another condition: the page lacks X.")
]
SuccessElement = Annotated[
    str | None,
    typer.Option(
        "--success-element", metavar="ROLE=NAME", help="Succeed when the page has it, such as 'button=Sign out'."
    ),
]


def parse_success(
    url: str | None, url_matches: str | None, text: str | None, text_absent: str | None, element: str | None
) -> dict[str, Any]:
    """Returns the success condition of these options; empty without any. Raises ValidationError."""
    condition = {"url_contains": url, "url_matches": url_matches, "text_contains": text, "text_absent": text_absent}
    given: dict[str, Any] = {name: value for name, value in condition.items() if value is not None}
    if element is not None:
        role, equals, name = element.partition("=")
        if not equals or not role.strip() or not name.strip():
            raise ValidationError("--success-element must be ROLE=NAME, such as 'button=Sign out'")
        given["element"] = {"role": role.strip(), "name": name.strip()}
    return given


def success_words(success: "Success | None") -> str:
    """Returns a success condition in words; empty without one."""
    if success is None:
        return ""
    conditions = {
        "address contains": success.url_contains,
        "address matches": success.url_matches,
        "text contains": success.text_contains,
        "text lacks": success.text_absent,
    }
    words = [f"{name} {text!r}" for name, text in conditions.items() if text]
    if success.element:
        words.append(f"{success.element.role} {success.element.name!r} is there")
    return " and ".join(words)
