"""Endpoints: asking a model behind an OpenAI-compatible API, with patience and within limits."""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from understudy.domain.simulation import Usage
from understudy.models import ModelFailed
from understudy.models.endpoint.response_limits import (
    ResponseTooLarge,
    count,
    error_message,
    join_text,
    limit_body,
    retry_after_s,
)
from understudy.models.endpoint.usage_meter import Quota, UsageMeter
from understudy.models.profiles import DEFAULT, NO_KEY, Profile, find_profile
from understudy.models.prompt import Message, estimate_tokens, without_system_messages
from understudy.plugins.time_limits import current_timer
from understudy.telemetry import metrics

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: Pauses between tries: the first, and the longest that we choose ourselves.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
#: Characters of a server's own words that are told on.
_MAX_SERVER_MESSAGE = 200
#: How a decision is asked for, the most certain first; what a server refuses is not asked for again.
_FORMATS = ("json_schema", "json_object", "text")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote."""

    text: str
    usage: Usage
    #: It had more to say, but not more tokens.
    cut: bool = False
    #: Why it does not say anything, if it said so.
    refusal: str = ""


class _RequestRejected(Exception):
    """The server does not take the form of a request; `said` is why, in its words."""

    def __init__(self, status: int, said: str) -> None:
        self.status = status
        self.said = said


class _RetryableError(Exception):
    """It did not work this time."""

    def __init__(self, what: str, after_s: float | None = None, result: metrics.LlmResult = "failed") -> None:
        self.what = what
        self.result = result
        #: The pause that the server asked for.
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class _RequestFormat:
    """How to ask this server; learned from what it refuses."""

    format: int = 0
    #: Neither system messages nor two of one role in a row.
    plain: bool = False
    tokens_field: str = "max_tokens"

    def after(self, said: str) -> "_RequestFormat | None":
        """How to ask one that refused this with these words; None when there is nothing left to try."""
        told = said.casefold()
        if "max_completion_tokens" in told and self.tokens_field == "max_tokens":
            return replace(self, tokens_field="max_completion_tokens")
        if not self.plain and ("alternat" in told or "system role" in told):
            return replace(self, plain=True)
        if self.format + 1 < len(_FORMATS):
            return replace(self, format=self.format + 1)
        return None


class Endpoint:
    """One profile's model, for all runs of a process. All methods belong to the loop's thread."""

    def __init__(self, name: str, profile: Profile) -> None:
        self._name = name
        self._profile = profile
        self._key = profile.key()
        self._client: AsyncOpenAI | None = None
        self._making = asyncio.Lock()
        self._form = _RequestFormat()

    async def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], gate: Quota) -> Reply:
        """What the model says to `messages`. Raises ModelFailed.

        Cancelling closes the connection at once. What is refused for its form is asked in a simpler one; what
        fails is tried again while the step has time.
        """
        client = await self._ready()
        tally = UsageMeter(gate)
        try:
            reply = await self._answer(client, messages, schema, tally)
        except ModelFailed as failure:
            wasted = Usage(tally.calls, 0, 0, tally.seconds(), self._profile.cost(0, 0), self._profile.model)
            raise ModelFailed(str(failure), wasted if tally.calls else None) from None
        return replace(reply, usage=replace(reply.usage, calls=tally.calls, seconds=tally.seconds()))

    async def _answer(
        self, client: "AsyncOpenAI", messages: Sequence[Message], schema: Mapping[str, Any], tally: UsageMeter
    ) -> Reply:
        form, refused = self._form, ""
        for retry in range(self._profile.retries + 1):
            try:
                while True:
                    try:
                        async with tally.place():
                            reply = await self._call_with_metrics(client, messages, schema, form)
                            await tally.gate.spent(reply.usage.input_tokens + reply.usage.output_tokens)
                        break
                    except _RequestRejected as unfit:
                        refused = refused or f"{unfit.status}: {unfit.said}"
                        simpler = form.after(unfit.said)
                        if simpler is None:
                            raise ModelFailed(self._refused(refused)) from None
                        form = simpler
            except _RetryableError as failure:
                await self._pause(failure, retry)
                continue
            self._form = form
            return reply
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close what is open."""
        if self._client is not None:
            await self._client.close()

    async def _ready(self) -> "AsyncOpenAI":
        # Importing and reading certificates takes a second: not on the loop.
        if self._client is None:
            async with self._making:
                if self._client is None:
                    self._client = await asyncio.to_thread(self._make_client)
        return self._client

    def _make_client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # noqa: PLC0415 - see _ready

        client = AsyncOpenAI(
            base_url=self._profile.base_url,
            api_key=self._key,
            max_retries=0,
            timeout=self._profile.timeout_s,
            # Not what the variables OPENAI_… of somebody else's shell say.
            organization="",
            project="",
            default_headers={"Accept-Encoding": "identity"},
            http_client=DefaultAsyncHttpxClient(event_hooks={"response": [limit_body]}),
        )
        _ = client.chat.completions
        return client

    async def _call_with_metrics(
        self,
        client: "AsyncOpenAI",
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        form: _RequestFormat,
    ) -> Reply:
        """One request, and a word of it to the metrics."""
        model, began = self._profile.model, time.monotonic()
        result: metrics.LlmResult = "aborted"
        try:
            reply = await self._call(client, messages, schema, form)
            result = "answered"
        except (_RequestRejected, _RetryableError, ModelFailed) as failure:
            result = failure.result if isinstance(failure, _RetryableError) else "failed"
            raise
        finally:
            metrics.observe_llm_call(model, result, time.monotonic() - began)
        used = reply.usage
        metrics.count_llm_usage(
            model, input_tokens=used.input_tokens, output_tokens=used.output_tokens, cost=used.cost
        )
        return reply

    async def _call(
        self,
        client: "AsyncOpenAI",
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        form: _RequestFormat,
    ) -> Reply:
        """One request. Raises _Unfit, _TryAgain, ModelFailed."""
        import openai  # noqa: PLC0415 - see _ready

        profile = self._profile
        given = list(without_system_messages(messages) if form.plain else messages)
        body: dict[str, Any] = {"model": profile.model, "messages": given}
        body[form.tokens_field] = profile.max_output_tokens
        if profile.temperature is not None:
            body["temperature"] = profile.temperature
        if _FORMATS[form.format] == "json_schema":
            decision = {"name": "decision", "schema": dict(schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": decision}
        elif _FORMATS[form.format] == "json_object":
            body["response_format"] = {"type": "json_object"}
        try:
            async with asyncio.timeout(profile.timeout_s):
                return await (self._stream if profile.stream else self._complete)(client, body)
        except TimeoutError:
            raise self._timeout_error() from None
        except openai.APIStatusError as error:
            self._raise_for_status(error.status_code, error_message(error.response), error.response.headers)
            raise AssertionError("unreachable") from None
        except openai.APITimeoutError:
            raise self._timeout_error() from None
        except (openai.APIConnectionError, httpx.TransportError) as error:
            if isinstance(error.__cause__, ResponseTooLarge):
                raise ModelFailed(self._failed("sends answers without end")) from None
            raise _RetryableError(f"cannot be reached ({type(error.__cause__ or error).__name__})") from None
        except ResponseTooLarge:
            raise ModelFailed(self._failed("sends answers without end")) from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise _RetryableError(
                f"answered with something that is no chat completion ({type(error).__name__})"
            ) from None

    async def _complete(self, client: "AsyncOpenAI", body: dict[str, Any]) -> Reply:
        answer = await client.chat.completions.with_raw_response.create(**body)
        found = json.loads(answer.http_response.content)
        choice = found["choices"][0] if isinstance(found, dict) and found.get("choices") else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            raise TypeError("no message")
        text, refusal = message.get("content") or "", message.get("refusal") or ""
        return self._reply(
            join_text(text), join_text(refusal), choice.get("finish_reason"), found.get("usage"), body
        )

    async def _stream(self, client: "AsyncOpenAI", body: dict[str, Any]) -> Reply:
        text, refusal, finish, usage = "", "", None, None
        pieces = await client.chat.completions.create(
            **body, stream=True, stream_options={"include_usage": True}
        )
        async with pieces:
            async for piece in pieces:
                usage = piece.usage.model_dump() if piece.usage else usage
                for choice in piece.choices or ():
                    text += choice.delta.content or ""
                    refusal += choice.delta.refusal or ""
                    finish = choice.finish_reason or finish
        if finish is None:
            raise TypeError("the stream broke off")
        return self._reply(text, refusal, finish, usage, body)

    def _reply(self, text: str, refusal: str, finish: Any, used: Any, body: dict[str, Any]) -> Reply:
        given = count(used, "prompt_tokens")
        written = count(used, "completion_tokens")
        if given is None or written is None:
            # A server that does not count: the estimate that the budget goes by.
            given, written = estimate_tokens(body["messages"]), estimate_tokens([{"content": text}])
        profile = self._profile
        usage = Usage(1, given, written, 0.0, profile.cost(given, written), profile.model)
        if finish == "content_filter" and not refusal:
            refusal = "its content filter stopped it"
        return Reply(self._redact_key(text), usage, cut=finish == "length", refusal=self._redact_key(refusal))

    def _raise_for_status(self, status: int, said: str, headers: httpx.Headers) -> None:
        """Raise what an answer with an error status means."""
        said = self._server_message(said)
        profile = self._profile
        if status in (401, 403):
            raise ModelFailed(
                self._failed(f"does not accept the key of profile {self._name!r} ({status}): {said}")
                + " Set a key that it accepts (UNDERSTUDY_LLM_API_KEY, or api_key in the profile) "
                "where the workers are started."
            )
        if status == 404:
            raise ModelFailed(
                self._failed(
                    f"does not know the model {profile.model!r}, or is not at this address (404): {said}"
                )
                + " Set UNDERSTUDY_LLM_MODEL to a model that it has, and UNDERSTUDY_LLM_BASE_URL to the "
                "address of its API, mostly ending in /v1 (or model and base_url in the profile)."
            )
        if status in (408, 409, 425, 429) or status >= 500:
            if "insufficient_quota" in said:
                raise ModelFailed(self._failed(f"says that the account is used up ({status}): {said}"))
            result: metrics.LlmResult = "rate_limited" if status == 429 else "failed"
            raise _RetryableError(f"answered {status}: {said}", retry_after_s(headers), result)
        if status in (400, 415, 422):
            raise _RequestRejected(status, said)
        raise ModelFailed(self._failed(f"answered {status}: {said}"))

    async def _pause(self, failure: _RetryableError, retry: int) -> None:
        """Wait before the next try. Raises ModelFailed when there is none, or no time for it."""
        times = f" {retry + 1} times" if retry else ""
        if retry >= self._profile.retries:
            raise ModelFailed(self._failed(f"{failure.what}{times and f' (tried{times})'}.")) from None
        pause_s = min(_FIRST_PAUSE_S * 2**retry, _LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)  # noqa: S311
        if failure.after_s is not None:
            # Never before it asked for; a little later, so that not all come back at once.
            pause_s = failure.after_s + random.uniform(0, 0.25)  # noqa: S311
        if pause_s >= current_timer().remaining_s():
            raise ModelFailed(
                self._failed(f"{failure.what}; the next try would be in {pause_s:.0f} s,")
                + " which is more than the step has left. A longer step_timeout, or fewer participants at a "
                "time, would help."
            ) from None
        await asyncio.sleep(pause_s)

    def _timeout_error(self) -> _RetryableError:
        return _RetryableError(f"gave no answer within {self._profile.timeout_s:g} s", result="timeout")

    def _failed(self, what: str) -> str:
        return f"The language model at {self._profile.display_url} {what}"

    def _refused(self, said: str) -> str:
        return self._failed(f"does not take our requests ({said}).")

    def _server_message(self, said: str) -> str:
        """A server's own words, short, on one line, and without the key."""
        words = " ".join(self._redact_key(said).split())
        return words if len(words) <= _MAX_SERVER_MESSAGE else words[:_MAX_SERVER_MESSAGE] + "…"

    def _redact_key(self, text: str) -> str:
        """A text without the key, should somebody have sent it back."""
        secret = self._key != NO_KEY and len(self._key) >= 4
        return text.replace(self._key, "***") if secret else text


_endpoints: dict[tuple[str, int], Endpoint] = {}


def endpoint_of(name: str) -> tuple[Endpoint, Profile]:
    """The endpoint of a profile, and the profile. Raises ModelFailed when there is none to be had."""
    name = name or DEFAULT
    profile = find_profile(name)
    # By loop too: connections belong to the one that they were made on.
    key = (name, id(asyncio.get_running_loop()))
    if key not in _endpoints:
        _endpoints[key] = Endpoint(name, profile)
    return _endpoints[key], profile
