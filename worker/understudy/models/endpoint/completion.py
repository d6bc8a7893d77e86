"""Completions: read the answer of a model from what its server sent, whole or in pieces.

Servers that offer the API of OpenAI differ in details: where the text is, what is null, how a call of a tool looks.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from understudy.models.endpoint.response_limits import error_words, join_text

#: Fields in which servers put what a model thinks; some put the whole answer there.
_REASONING = ("reasoning_content", "reasoning", "thinking")
#: Reasons of an end at the maximum length.
_CUT = ("length", "max_tokens", "model_length", "MAX_TOKENS")


class NotACompletion(ValueError):
    """The server sent no completion; `words` are its own, from an error inside a successful answer."""

    def __init__(self, words: str = "", status: int | None = None) -> None:
        super().__init__(words)
        self.words = words
        #: HTTP status that the answer names for its error.
        self.status = status


class Completion:
    """The parts of an answer, collected from one whole answer or from the pieces of a stream."""

    def __init__(self) -> None:
        self._text = ""
        self._refusal = ""
        self._reasoning = ""
        #: Arguments of calls of tools by their index.
        self._arguments: dict[Any, str] = {}
        self.finish = ""
        self.usage: Any = None
        self._is_empty = True

    def add(self, found: Any) -> None:
        """Adds a whole answer, or a piece of one. Raises NotACompletion if it is an error or something else."""
        if not isinstance(found, dict):
            raise NotACompletion
        choices = found.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        _raise_error(found, choice)
        self.usage = found.get("usage") or self.usage
        # Servers of the Ollama and Anthropic APIs have no choices.
        choice = found if choice is None and ("message" in found or "content" in found) else choice
        if not isinstance(choice, dict):
            return
        message = next((choice[name] for name in ("message", "delta") if isinstance(choice.get(name), dict)), None)
        if message is None and choice.keys() & {"content", "text"}:
            message = {"content": choice.get("content") or choice.get("text")}
        reasons = (choice.get(name) for name in ("finish_reason", "stop_reason", "done_reason"))
        self.finish = next((reason for reason in reasons if reason and isinstance(reason, str)), self.finish)
        if message is not None:
            self._is_empty = False
            self._add_message(message)

    def _add_message(self, message: Mapping[str, Any]) -> None:
        self._text += join_text(message.get("content") or "")
        self._refusal += join_text(message.get("refusal") or "")
        self._reasoning += next((join_text(message[name]) for name in _REASONING if message.get(name)), "")
        for index, written in _calls(message):
            self._arguments[index] = self._arguments.get(index, "") + written

    def text(self) -> str:
        """Returns the model's text. Raises NotACompletion without a message.

        The arguments of calls of tools follow the text. What the model thinks counts only if there is no text and it
        ends with an object: then its server took the answer for a thought.
        """
        if self._is_empty:
            raise NotACompletion
        if text := "\n".join(filter(str.strip, (self._text, *self._arguments.values()))):
            return text
        is_answer = not self.is_cut and self._reasoning.rstrip("`\n ").endswith("}")
        return self._reasoning if is_answer else ""

    @property
    def refusal(self) -> str:
        if self.finish in ("content_filter", "refusal") and not self._refusal:
            return "its content filter stopped the answer"
        return self._refusal

    @property
    def is_cut(self) -> bool:
        return self.finish in _CUT

    def is_complete(self) -> bool:
        """Returns whether a stream that just ends has an end: a reason, or a text that is whole."""
        return bool(self.finish) or (not self._is_empty and self.text().rstrip("`\n ").endswith("}"))


def _raise_error(found: Mapping[str, Any], choice: Any) -> None:
    """Raises NotACompletion for an error in an answer of status 200, in the answer or in its choice."""
    inner = choice.get("error") if isinstance(choice, dict) else None
    error = found.get("error") or inner
    if not error and (found.get("object") == "error" or found.get("type") == "error" or found.get("detail")):
        error = found
    if not error and not found.keys() & {"choices", "content", "usage", "id"} and isinstance(found.get("message"), str):
        error = found
    if error:
        code = error.get("code") or error.get("status") if isinstance(error, dict) else None
        status = int(code) if isinstance(code, int | str) and str(code).isdecimal() and len(str(code)) == 3 else None
        raise NotACompletion(error_words(error), status if status is not None and status >= 400 else None)


def _calls(message: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """Yields index and arguments of each call of a tool; pieces of one call have one index."""
    calls = message.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            function = call.get("function")
            index = call.get("index")
            yield number if index is None else index, _arguments(function if isinstance(function, dict) else call)
    if isinstance(called := message.get("function_call"), dict):
        yield "function_call", _arguments(called)
    parts = message.get("content")
    for number, part in enumerate(parts if isinstance(parts, list) else ()):
        if isinstance(part, dict) and part.get("type") == "tool_use":
            yield f"part {number}", _arguments(part)


def _arguments(call: Mapping[str, Any]) -> str:
    value = next((call[name] for name in ("arguments", "input") if call.get(name)), "")
    return value if isinstance(value, str) else json.dumps(value)
