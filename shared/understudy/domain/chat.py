"""Chatbots: what an iteration says about one, how a message becomes a request, and where the reply stands."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from understudy.domain.errors import ValidationError

DEFAULT_REPLY_TIMEOUT_S = 45.0
MAX_REPLY_TIMEOUT_S = 600.0
#: Characters of a request template, written as JSON, and levels of it.
MAX_TEMPLATE_LENGTH = 20_000
MAX_TEMPLATE_DEPTH = 16
MAX_PATH_LENGTH = 200
MAX_PATH_STEPS = 16
MAX_HEADERS = 20
MAX_HEADER_LENGTH = 1_000
MAX_MODEL_LENGTH = 200
#: Characters of an id that a bot gives a conversation.
MAX_ID_LENGTH = 1_000
#: Characters of one message of a person.
MAX_MESSAGE_LENGTH = 4_000

PLACEHOLDERS = ("message", "conversation_id", "history")

_FIELDS = {"openai": {"model"}, "json": {"request", "response_path", "conversation_path"}}
_ANY_FIELDS = {"environment", "url", "protocol", "headers", "reply_timeout"}
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
#: How a secret is called; its value is known to the workers alone.
SECRET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
#: What the transport says itself.
_RESERVED_HEADERS = {"host", "connection", "content-length", "content-type", "transfer-encoding", "accept"}
_RESERVED_HEADERS |= {"accept-encoding", "te", "trailer", "upgrade", "expect"}
_SECRET_HEADER_NAME = re.compile(
    r"authori[sz]ation|cookie|key|token|secret|password|credential", re.IGNORECASE
)
_LIST_PLACE = re.compile(r"-?\d{1,4}")
_MAX_SHOWN = 80

#: One turn as chat-completions tell it: role (user, assistant) and content.
ChatMessage: TypeAlias = Mapping[str, str]


class ReplyNotFound(ValueError):
    """The answer has no reply where one was to be."""


@dataclass(frozen=True, slots=True)
class ChatbotConfig:
    """A chatbot, as an iteration describes it."""

    url: str
    template: Mapping[str, Any]
    path: tuple[str, ...]
    #: Where an answer says which conversation it is of; empty: the id is ours.
    conversation_path: tuple[str, ...]
    #: Header -> its value, or the name of the secret that is.
    headers: Mapping[str, str]
    secrets: Mapping[str, str]
    reply_timeout_s: float

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """The bot of an iteration's content. Raises ValidationError for what `check_chat` refuses."""
        check_chat(content)
        headers = content.get("headers", {})
        template, path = content.get("request", {}), content.get("response_path", "")
        url = content["url"]
        if content["protocol"] == "openai":
            model = {"model": content["model"]} if "model" in content else {}
            template, path = model | {"messages": "{history}"}, "choices.0.message.content"
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
        """Does each request tell all that was said?"""
        return any(text == "{history}" for text in _strings(self.template))

    def request(self, message: str, conversation_id: str | int | None, history: Sequence[ChatMessage]) -> Any:
        """The body that says `message`; `history` is what was said before.

        An id stands as it is where nothing stands beside it; None: the bot has not told one yet.
        """
        whole = {
            "{history}": [*history, {"role": "user", "content": message}],
            "{conversation_id}": conversation_id,
        }
        values = {
            "message": message,
            "conversation_id": "" if conversation_id is None else str(conversation_id),
        }

        def put(match: re.Match[str]) -> str:
            return match[0][0] if match[1] is None else values[match[1]]

        return _fill_template(
            self.template, lambda text: whole[text] if text in whole else _BRACES.sub(put, text)
        )

    def conversation(self, answer: Any) -> str | int:
        """Of which conversation the bot says that it is. Raises NoReply."""
        value = _value_at(answer, self.conversation_path)
        if isinstance(value, bool) or not isinstance(value, str | int) or len(str(value)) > MAX_ID_LENGTH:
            raise ReplyNotFound(
                f"what stands at {'.'.join(self.conversation_path)} is no id: {_describe_type(value)}"
            )
        return value

    def reply(self, answer: Any) -> str:
        """What the bot says in its answer. Raises NoReply."""
        value = _value_at(answer, self.path)
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            return "\n".join(value)
        if not isinstance(value, str):
            raise ReplyNotFound(f"what stands at {'.'.join(self.path)} is no text: {_describe_type(value)}")
        return value


def check_chat(content: Mapping[str, Any]) -> None:
    """Raises ValidationError unless this describes a chatbot; its address is looked at elsewhere."""
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
        _check_path("response_path", "the reply stands, like choices.0.message.content", content)
        if "conversation_path" in content:
            _check_path("conversation_path", "the conversation's id stands, like session.id", content)
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
                    f"content.request has {_quote(match[0])}; there is "
                    f"{', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}, and {{{{ or }}}} for a brace."
                )
            if match[1] == "history" and text != "{history}":
                raise ValidationError('content.request: "{history}" is a list and must stand by itself.')
            used.add(match[1])
    if not used & {"message", "history"}:
        raise ValidationError("content.request must have {message} or {history}: what the person says.")


def _check_depth(value: Any, depth: int) -> None:
    if depth > MAX_TEMPLATE_DEPTH:
        raise ValidationError(f"content.request must be at most {MAX_TEMPLATE_DEPTH} levels deep.")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, depth + 1)


def _check_path(name: str, what: str, content: Mapping[str, Any]) -> None:
    path = given if isinstance(given := content.get(name), str) else ""
    steps = path.split(".")
    if not all(steps) or len(path) > MAX_PATH_LENGTH or len(steps) > MAX_PATH_STEPS:
        raise ValidationError(
            f"content.{name} must say where {what}: at most "
            f"{MAX_PATH_STEPS} names or places in lists, {MAX_PATH_LENGTH} characters."
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
                    "secret that the workers know: letters, digits, - and _."
                )
        elif _SECRET_HEADER_NAME.search(name):
            # It would be stored and answered like any other content.
            raise ValidationError(
                f'content.headers: {name} looks like a secret. Give {{"secret": "NAME"}}; the workers know '
                "its value."
            )
        elif (
            not isinstance(value, str) or len(value) > MAX_HEADER_LENGTH or not _HEADER_VALUE.fullmatch(value)
        ):
            raise ValidationError(
                f"content.headers: {name} must be ASCII text of 1 to {MAX_HEADER_LENGTH:,} characters."
            )


def _value_at(answer: Any, path: Sequence[str]) -> Any:
    """What stands there. Raises NoReply."""
    value = answer
    for number, step in enumerate(path):
        where = ".".join(path[:number]) or "the top"
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and _LIST_PLACE.fullmatch(step):
            place = int(step)
            if not -len(value) <= place < len(value):
                raise ReplyNotFound(f"there is no {step} at {where}: it is a list of {len(value)}")
            value = value[place]
        else:
            raise ReplyNotFound(f"there is no {step!r} at {where}: {_describe_type(value)}")
    return value


def _completions_url(url: str) -> str:
    """The endpoint of an OpenAI-compatible server, of which often only the beginning is told."""
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
    return {list: "it is a list", str: "it is a text", type(None): "it is null"}.get(
        type(value), "it is a number"
    )


def _quote(given: object) -> str:
    return repr(given)[:_MAX_SHOWN]
