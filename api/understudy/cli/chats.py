"""Options of `run` that say which chatbot people talk to."""

import json
from typing import Annotated, Any, NamedTuple

import typer

from understudy.domain.errors import ValidationError

ChatUrl = Annotated[
    str | None,
    typer.Option(
        "--chat",
        metavar="URL",
        help="A chatbot everybody talks to, OpenAI-compatible unless --chat-request says otherwise.",
        show_default=False,
    ),
]
ChatModel = Annotated[str | None, typer.Option(metavar="NAME", help="The model that the chatbot is to use.")]
ChatRequest = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help='What is sent to a chatbot of another kind: {"text": "{message}", "id": "{conversation_id}"}.',
    ),
]
ChatReply = Annotated[
    str | None, typer.Option(metavar="PATH", help="Where its reply stands in the answer, like reply.text.")
]
ChatSecret = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HEADER=NAME",
        help="Send a secret that the workers know, like Authorization=support_bot. May be repeated.",
    ),
]


class RunTarget(NamedTuple):
    """Where people are sent: an iteration's content, and the modality it fits."""

    modality: str
    content: dict[str, Any]


def parse_target(
    url: str | None,
    chat: str | None,
    model: str | None,
    request: str | None,
    reply: str | None,
    secrets: list[str] | None,
) -> RunTarget:
    """The place that the options name. Raises ValidationError."""
    if (url is None) == (chat is None):
        raise ValidationError("give exactly one of --url (a website) and --chat (a chatbot)")
    if url is not None:
        if model or request or reply or secrets:
            raise ValidationError("the options --chat-… go with --chat only")
        return RunTarget("interactive", {"environment": "web", "url": url})
    if (request is None) != (reply is None) or (model and request):
        raise ValidationError("give --chat-request and --chat-reply together, and without --chat-model")
    content: dict[str, Any] = {
        "environment": "chat",
        "url": chat,
        "protocol": "json" if request else "openai",
    }
    if request is not None:
        content |= {"request": _object(request), "response_path": reply}
    if model:
        content["model"] = model
    if secrets:
        content["headers"] = dict(map(_header, secrets))
    return RunTarget("chat", content)


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"--chat-request is not JSON: {error}") from error


def _header(text: str) -> tuple[str, dict[str, str]]:
    header, separator, name = text.partition("=")
    if not (header and separator and name):
        raise ValidationError(f"--chat-secret must look like Authorization=NAME, not {text!r}")
    return header, {"secret": name}
