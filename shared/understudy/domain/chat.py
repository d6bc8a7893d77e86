"""Chatbots: validates an iteration's content, builds requests, and extracts replies."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from understudy.domain.errors import ValidationError

DEFAULT_REPLY_TIMEOUT_S = 45.0
MAX_REPLY_TIMEOUT_S = 600.0
#: Maximum characters of a request template as JSON, and maximum depth.
MAX_TEMPLATE_LENGTH = 20_000
MAX_TEMPLATE_DEPTH = 16
MAX_PATH_LENGTH = 200
MAX_PATH_STEPS = 16
MAX_HEADERS = 20
MAX_HEADER_LENGTH = 1_000
MAX_MODEL_LENGTH = 200
#: Maximum characters of a conversation id from a bot.
MAX_ID_LENGTH = 1_000
#: Maximum characters of one message of a person.
MAX_MESSAGE_LENGTH = 4_000

PLACEHOLDERS = ("message", "conversation_id", "history")

_FIELDS = {"openai": {"model"}, "json": {"request", "response_path", "conversation_path"}}
_ANY_FIELDS = {"environment", "url", "protocol", "headers", "reply_timeout"}
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
#: Name of a secret; only the workers know its value.
SECRET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
#: Headers that the transport sets.
_RESERVED_HEADERS = {"host", "connection", "content-length", "content-type", "transfer-encoding", "accept"}
_RESERVED_HEADERS |= {"accept-encoding", "te", "trailer", "upgrade", "expect"}
_SECRET_HEADER_NAME = re.compile(r"authori[sz]ation|cookie|key|token|secret|password|credential", re.IGNORECASE)
_LIST_INDEX = re.compile(r"-?\d{1,4}")
_MAX_PREVIEW_CHARS = 80
#: Path of the reply of an OpenAI-compatible bot, and types of the parts of its content that it does not say.
_OPENAI_PATH = ("choices", "0", "message", "content")
_UNSAID_PARTS = ("thinking", "redacted_thinking", "reasoning")

#: One message in chat-completions form: role (user, assistant) and content.
ChatMessage: TypeAlias = Mapping[str, str]


class ReplyNotFound(ValueError):
    """The answer has no reply at the configured path."""


@dataclass(frozen=True, slots=True)
class ChatbotConfig:
    """A chatbot, as an iteration describes it."""

    url: str
    template: Mapping[str, Any]
    path: tuple[str, ...]
    #: Path of the conversation id in an answer; empty: Understudy sets the id.
    conversation_path: tuple[str, ...]
    #: Header -> value; header -> name of the secret with its value.
    headers: Mapping[str, str]
    secrets: Mapping[str, str]
    reply_timeout_s: float

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Returns the bot of an iteration's content. Raises ValidationError like `check_chat`."""
        check_chat(content)
        headers = content.get("headers", {})
        template, path = content.get("request", {}), content.get("response_path", "")
        url = content["url"]
        if content["protocol"] == "openai":
            model = {"model": content["model"]} if "model" in content else {}
            template, path = model | {"messages": "{history}"}, ".".join(_OPENAI_PATH)
            url = _completions_url(url)
        return cls(
            url=url,
            template=template,
            path=tuple(path.split(".")),
            conversation_path=tuple(filter(None, content.get("conversation_path", "").split("."))),
            headers={name: value for name, value in headers.items() if isinstance(value, str)},
            secrets={name: value["secret"] for name, value in headers.items() if not isinstance(value, str)},
            reply_timeout_s=float(content.get("reply_timeout", DEFAULT_REPLY_TIMEOUT_S)),
        )

    @property
    def sends_full_history(self) -> bool:
        """Whether each request contains all earlier messages."""
        return any(text == "{history}" for text in _strings(self.template))

    def request(self, message: str, conversation_id: str | int | None, history: Sequence[ChatMessage]) -> Any:
        """Returns the request body that sends `message` after the earlier messages `history`.

        A placeholder that is the whole text keeps the id's type. None: the bot has not sent an id yet.
        """
        typed = {
            "{history}": [*history, {"role": "user", "content": message}],
            "{conversation_id}": conversation_id,
        }
        values = {
            "message": message,
            "conversation_id": "" if conversation_id is None else str(conversation_id),
        }

        def replace(match: re.Match[str]) -> str:
            return match[0][0] if match[1] is None else values[match[1]]

        return _fill_template(self.template, lambda text: typed[text] if text in typed else _BRACES.sub(replace, text))

    def _refusal(self, answer: Any) -> str | None:
        """Returns the text of `refusal` beside the reply of an OpenAI-compatible bot."""
        if self.path != _OPENAI_PATH:
            return None
        try:
            value = _value_at(answer, (*self.path[:-1], "refusal"))
        except ReplyNotFound:
            return None
        return value if isinstance(value, str) else None

    def conversation(self, answer: Any) -> str | int:
        """Returns the conversation id in the bot's answer. Raises ReplyNotFound."""
        value = _value_at(answer, self.conversation_path)
        if isinstance(value, bool) or not isinstance(value, str | int) or len(str(value)) > MAX_ID_LENGTH:
            raise ReplyNotFound(
                f"the value at {'.'.join(self.conversation_path)} is not an id: {_describe_type(value)}"
            )
        return value

    def reply(self, answer: Any) -> str:
        """Returns the bot's reply in its answer. Raises ReplyNotFound."""
        try:
            value = _value_at(answer, self.path)
        except ReplyNotFound:
            value = None
            if not self._refusal(answer):
                raise
        # Bots that refuse say why beside an empty reply.
        value = value or self._refusal(answer) or value
        if isinstance(value, list) and value and all(isinstance(part, str | dict) for part in value):
            return _join_parts(value)
        if not isinstance(value, str):
            raise ReplyNotFound(f"the value at {'.'.join(self.path)} is not text: {_describe_type(value)}")
        return value


def _join_parts(parts: Sequence[str | Mapping[str, Any]]) -> str:
    """Returns the texts of a reply in parts; other parts are named by their type, and thoughts are not said."""
    lines = []
    for part in parts:
        if isinstance(part, str):
            lines.append(part)
            continue
        text = next((part[name] for name in ("text", "refusal") if isinstance(part.get(name), str)), None)
        kind = part.get("type")
        if kind not in _UNSAID_PARTS:
            lines.append(f"[{kind[:40] if isinstance(kind, str) else 'attachment'}]" if text is None else text)
    return "\n".join(lines)


def check_chat(content: Mapping[str, Any]) -> None:
    """Raises ValidationError unless `content` describes a chatbot; does not check its URL."""
    protocol = content.get("protocol")
    if not isinstance(protocol, str) or protocol not in _FIELDS:
        raise ValidationError(f"content.protocol must be openai or json, not {_quote(protocol)}.")
    known = _ANY_FIELDS | _FIELDS[protocol]
    if unknown := sorted(set(content) - known):
        raise ValidationError(
            f"content of a chat environment with protocol {protocol} has {', '.join(sorted(known))}, "
            f"not {_quote(unknown[0])}."
        )
    if protocol == "json":
        _check_template(content.get("request"))
        _check_path("response_path", "of the reply, like choices.0.message.content", content)
        if "conversation_path" in content:
            _check_path("conversation_path", "of the conversation id, like session.id", content)
            if not any("{conversation_id}" in text for text in _strings(content["request"])):
                raise ValidationError(
                    "content.conversation_path needs {conversation_id} in content.request: "
                    "otherwise the bot does not receive the conversation id."
                )
    elif "model" in content:
        model = content["model"]
        if not isinstance(model, str) or not 1 <= len(model) <= MAX_MODEL_LENGTH:
            raise ValidationError(f"content.model must be a text of 1 to {MAX_MODEL_LENGTH} characters.")
    _check_headers(content.get("headers", {}))
    timeout = content.get("reply_timeout", DEFAULT_REPLY_TIMEOUT_S)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ValidationError("content.reply_timeout must be a number of seconds.")
    if not 0 < timeout <= MAX_REPLY_TIMEOUT_S:
        raise ValidationError(f"content.reply_timeout must be above 0 and at most {MAX_REPLY_TIMEOUT_S:g}.")


def _check_template(template: Any) -> None:
    if not isinstance(template, dict):
        raise ValidationError('content.request must be an object, such as {"text": "{message}"}.')
    _check_depth(template, 1)
    if len(json.dumps(template)) > MAX_TEMPLATE_LENGTH:
        raise ValidationError(f"content.request must be at most {MAX_TEMPLATE_LENGTH:,} characters of JSON.")
    used: set[str] = set()
    for text in _strings(template):
        for match in _BRACES.finditer(text):
            if match[0] in {"{{", "}}"}:
                continue
            if match[1] not in PLACEHOLDERS:
                raise ValidationError(
                    f"content.request has {_quote(match[0])}; use "
                    f"{', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}, and {{{{ or }}}} for a brace."
                )
            if match[1] == "history" and text != "{history}":
                raise ValidationError('content.request: "{history}" is a list and must be the whole text.')
            used.add(match[1])
    if not used & {"message", "history"}:
        raise ValidationError("content.request must contain {message} or {history}, the person's message.")


def _check_depth(value: Any, depth: int) -> None:
    if depth > MAX_TEMPLATE_DEPTH:
        raise ValidationError(f"content.request must be at most {MAX_TEMPLATE_DEPTH} levels deep.")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, depth + 1)


def _check_path(name: str, purpose: str, content: Mapping[str, Any]) -> None:
    path = value if isinstance(value := content.get(name), str) else ""
    steps = path.split(".")
    if not all(steps) or len(path) > MAX_PATH_LENGTH or len(steps) > MAX_PATH_STEPS:
        raise ValidationError(
            f"content.{name} must be the path {purpose}: at most "
            f"{MAX_PATH_STEPS} names or list indexes, {MAX_PATH_LENGTH} characters."
        )


def _check_headers(headers: Any) -> None:
    if not isinstance(headers, dict) or len(headers) > MAX_HEADERS:
        raise ValidationError(f"content.headers must be an object of at most {MAX_HEADERS} headers.")
    seen: set[str] = set()
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED_HEADERS or name.lower() in seen:
            raise ValidationError(f"content.headers: {_quote(name)} cannot be set, or is given twice.")
        seen.add(name.lower())
        if isinstance(value, dict):
            secret = value.get("secret")
            if set(value) != {"secret"} or not isinstance(secret, str) or not SECRET_NAME.fullmatch(secret):
                raise ValidationError(
                    f'content.headers: {name} must be a text, or {{"secret": "NAME"}} with the name of a '
                    "secret of the workers: letters, digits, - and _."
                )
        elif _SECRET_HEADER_NAME.search(name):
            # The API would store and return it like any other content.
            raise ValidationError(
                f'content.headers: {name} looks like a secret. Use {{"secret": "NAME"}}; the workers have its value.'
            )
        elif not isinstance(value, str) or len(value) > MAX_HEADER_LENGTH or not _HEADER_VALUE.fullmatch(value):
            raise ValidationError(
                f"content.headers: {name} must be ASCII text of 1 to {MAX_HEADER_LENGTH:,} characters."
            )


def _value_at(answer: Any, path: Sequence[str]) -> Any:
    """Returns the value at `path`. Raises ReplyNotFound."""
    value = answer
    for number, step in enumerate(path):
        where = ".".join(path[:number]) or "the top"
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and _LIST_INDEX.fullmatch(step):
            index = int(step)
            if not -len(value) <= index < len(value):
                raise ReplyNotFound(f"there is no {step} at {where}: it is a list of {len(value)}")
            value = value[index]
        else:
            raise ReplyNotFound(f"there is no {step!r} at {where}: {_describe_type(value)}")
    return value


def _completions_url(url: str) -> str:
    """Returns the endpoint of an OpenAI-compatible server; users often enter only its beginning."""
    address, mark, query = url.partition("?")
    bare = address.rstrip("/")
    return (bare if bare.endswith("/chat/completions") else f"{bare}/chat/completions") + mark + query


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def _fill_template(value: Any, fill: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, Mapping):
        return {name: _fill_template(item, fill) for name, item in value.items()}
    return [_fill_template(item, fill) for item in value] if isinstance(value, list) else value


def _describe_type(value: Any) -> str:
    if isinstance(value, dict):
        return f"there is {', '.join(str(name)[:30] for name in list(value)[:6]) or 'nothing'}"
    return {list: "it is a list", str: "it is a text", type(None): "it is null"}.get(type(value), "it is a number")


def _quote(value: object) -> str:
    return repr(value)[:_MAX_PREVIEW_CHARS]
