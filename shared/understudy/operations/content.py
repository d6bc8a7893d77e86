"""The content of an iteration: one model for each built-in environment, chosen by `environment`.

An environment plug-in may bring its own model: an entry point of the group `understudy.contents` with the name of
the environment. The model describes the content for callers and checks it before anything is stored.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from understudy.domain.chat import DEFAULT_REPLY_TIMEOUT_S, MAX_REPLY_TIMEOUT_S, check_chat
from understudy.domain.errors import ValidationError
from understudy.domain.variants import MAX_VARIANTS, check_variants
from understudy.operations.request_base import Request

MAX_URL_LENGTH = 2_000
#: Maximum characters of an invalid value that an error repeats.
MAX_SHOWN = 100


class WebContent(Request):
    """A website."""

    environment: Literal["web"]
    url: Annotated[str, Field(description="Start page, such as https://shop.example/.", pattern="^https?://[^/ ]+")]

    @model_validator(mode="before")
    @classmethod
    def _check(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        _refuse_unknown(content, "web", "url")
        url = content.get("url")
        if not isinstance(url, str) or not _is_web_address(url):
            raise ValidationError(
                f"content.url must be an http or https address of at most {MAX_URL_LENGTH:,} characters, without a "
                "name and password in it, like https://shop.example/."
            )
        return content


class SecretName(Request):
    """A secret of the workers: only they know its value."""

    secret: str


class ChatContent(Request):
    """A chatbot: OpenAI-compatible, or with a protocol that a request template describes."""

    environment: Literal["chat"]
    url: Annotated[str, Field(description="Address of the chatbot.", pattern="^https?://[^/ ]+")]
    protocol: Literal["openai", "json"] = Field(
        description="`openai`: chat completions; `json`: `request` describes it."
    )
    model: str | None = Field(default=None, description="With openai: model to request.")
    request: dict[str, Any] | None = Field(
        default=None,
        description='With json: request body, such as {"text": "{message}", "id": "{conversation_id}"}, or '
        '{"messages": "{history}"}.',
    )
    response_path: str | None = Field(default=None, description="With json: path of the reply, such as reply.text.")
    conversation_path: str | None = Field(
        default=None, description="With json: path of the conversation id, if the bot assigns it."
    )
    headers: dict[str, str | SecretName] | None = Field(
        default=None, description='Headers; a secret is {"secret": "NAME"}, with a secret of the workers.'
    )
    reply_timeout: float | None = Field(
        default=None,
        description=f"Maximum seconds until a reply, at most {MAX_REPLY_TIMEOUT_S:g}. Default: "
        f"{DEFAULT_REPLY_TIMEOUT_S:g}.",
    )

    @model_validator(mode="before")
    @classmethod
    def _check(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        url = content.get("url")
        if not isinstance(url, str) or not _is_web_address(url):
            raise ValidationError(
                f"content.url must be the chatbot's http or https address of at most {MAX_URL_LENGTH:,} "
                "characters, without a name and password in it."
            )
        check_chat(content)
        return content


class TextContent(Request):
    """Texts to compare."""

    environment: Literal["text"]
    variants: Annotated[
        list[str], Field(min_length=1, max_length=MAX_VARIANTS, description="Texts to compare, labelled A, B, C…")
    ]

    @model_validator(mode="before")
    @classmethod
    def _check(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        _refuse_unknown(content, "text", "variants")
        check_variants(content.get("variants"), "content.variants")
        return content


def _refuse_unknown(content: Mapping[str, Any], environment: str, field: str) -> None:
    if unknown := sorted(set(content) - {"environment", field}):
        raise ValidationError(
            f"content of a {environment} environment has only environment and {field}; remove {quote(unknown[0])}."
        )


def quote(value: object) -> str:
    """Returns a bounded quote of an invalid value, which may have any type and size."""
    return repr(value)[:MAX_SHOWN]


def _is_web_address(url: str) -> bool:
    if len(url) > MAX_URL_LENGTH or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    # Content is shown to everyone who may read the workspace.
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port_is_fine and "@" not in parts.netloc
