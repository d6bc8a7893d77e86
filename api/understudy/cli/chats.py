"""Options of `run` that define the chatbot."""

import json
from typing import Annotated, Any, Literal, NamedTuple

import typer

from understudy.domain.errors import ValidationError

ChatUrl = Annotated[
    str | None,
    typer.Option(
        "--chat",
        metavar="URL",
        help="Address of the chatbot. It must be OpenAI-compatible unless you give --chat-request.",
        show_default=False,
    ),
]
ChatModel = Annotated[str | None, typer.Option(metavar="NAME", help="Model to request from the chatbot.")]
ChatRequest = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help='Request body for another protocol: {"text": "{message}", "id": "{conversation_id}"}.'
    ),
]
ChatReply = Annotated[
    str | None, typer.Option(metavar="PATH", help="Path of the reply in the response, such as reply.text.")
]
ChatSecret = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HEADER=NAME",
        help="Send a secret of the workers as header: Authorization=support_bot. Repeat for several.",
    ),
]


class RunTarget(NamedTuple):
    """The environment of a run: modality and content of the iteration."""

    modality: Literal["interactive", "chat"]
    content: dict[str, Any]


def parse_target(
    url: str | None,
    chat: str | None,
    model: str | None,
    request: str | None,
    reply: str | None,
    secrets: list[str] | None,
) -> RunTarget:
    """Returns the target that the options define. Raises ValidationError."""
    if (url is None) == (chat is None):
        raise ValidationError("give exactly one of --url (a website) and --chat (a chatbot)")
    if url is not None:
        if model or request or reply or secrets:
            raise ValidationError("the options --chat-… require --chat")
        return RunTarget("interactive", {"environment": "web", "url": url})
    if (request is None) != (reply is None) or (model and request):
        raise ValidationError("give --chat-request together with --chat-reply and without --chat-model")
    content: dict[str, Any] = {"environment": "chat", "url": chat, "protocol": "json" if request else "openai"}
    if request is not None:
        content |= {"request": _parse_object(request), "response_path": reply}
    if model:
        content["model"] = model
    if secrets:
        content["headers"] = dict(map(_parse_header, secrets))
    return RunTarget("chat", content)


def _parse_object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"--chat-request is not JSON: {error}") from error


def _parse_header(text: str) -> tuple[str, dict[str, str]]:
    header, separator, name = text.partition("=")
    if not (header and separator and name):
        raise ValidationError(f"--chat-secret must look like Authorization=NAME, not {text!r}")
    return header, {"secret": name}
