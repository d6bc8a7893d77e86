"""The success condition of an assignment, as callers give it. Source: contract section 2."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from understudy.operations.request_base import Name, Request

Condition = Annotated[str, Field(min_length=1, max_length=1_000)]


class ElementRequest(Request):
    """An element that the page has."""

    role: Literal["button", "checkbox", "combobox", "heading", "link", "radio", "textbox"] = Field(
        description="Its role."
    )
    name: Name = Field(description="Part of its name, in any case.")


class SuccessRequest(Request):
    """Condition that completes the assignment; all given fields must hold."""

    url_contains: Condition | None = Field(default=None, description="Part of the page's address, such as /order/.")
    text_contains: Condition | None = Field(
        default=None, description="Part of the text that the page or the bot itself says, in any case."
    )
    url_matches: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="RE2 pattern of a part of the address, such as /order/[0-9]+$."
    )
    element: ElementRequest | None = Field(default=None, description="An element that the page has.")
    text_absent: Condition | None = Field(
        default=None, description="Text that the page must not have; only with another field."
    )

    @model_validator(mode="after")
    def _require_condition(self) -> Self:
        texts = {name: getattr(self, name) for name in ("text_contains", "text_absent")}
        texts["element.name"] = self.element and self.element.name
        if blank := [name for name, text in texts.items() if text is not None and not text.strip()]:
            raise ValueError(f"{blank[0]} is blank: give a text that people can see")
        if not {"url_contains", "text_contains", "url_matches", "element"} & self.model_dump(exclude_none=True).keys():
            if self.text_absent is not None:
                raise ValueError(
                    "text_absent cannot stand alone: most pages lack the text. Add url_contains, url_matches, "
                    "text_contains or element"
                )
            raise ValueError(
                "give url_contains, text_contains, url_matches or element, or several of them, or leave success out"
            )
        return self
