"""Endpoints: call a model behind an OpenAI-compatible API, with retries and limits."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from understudy.domain.addresses import is_loopback
from understudy.domain.simulation import Usage
from understudy.isolation.json_bounds import loads_bounded
from understudy.models import ModelFailed
from understudy.models.endpoint.completion import Completion, NotACompletion
from understudy.models.endpoint.request_format import FORMATS, RequestFormat
from understudy.models.endpoint.response_limits import ResponseTooLarge, count, error_message, limit_body, retry_after_s
from understudy.models.endpoint.server_sent_data import server_sent_data
from understudy.models.endpoint.usage_meter import Quota, UsageMeter
from understudy.models.profiles import DEFAULT, NO_KEY, Profile, not_available, profile_for
from understudy.models.prompt import Message, estimate_tokens, without_system_messages
from understudy.plugins.allowed_workspaces import Workspace
from understudy.plugins.time_limits import current_timer
from understudy.telemetry import metrics

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: Pauses between attempts in seconds: the first, and the longest without a Retry-After header.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
#: Maximum characters of a server's message that an error quotes.
_MAX_SERVER_MESSAGE = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a model."""

    text: str
    usage: Usage
    #: The answer reached `max_output_tokens`.
    cut: bool = False
    #: Reason for a refusal; empty if the model did not refuse.
    refusal: str = ""


class _RequestRejected(Exception):
    """The server rejects the format of a request; `message` is its reason."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message


class _RetryableError(Exception):
    """The call failed; a retry may succeed."""

    def __init__(
        self, what: str, after_s: float | None = None, result: metrics.LlmResult = "failed", said: str = ""
    ) -> None:
        self.what = what
        #: The server's own words.
        self.said = said
        self.result = result
        #: Pause that the server asks for, in seconds.
        self.after_s = after_s


class Endpoint:
    """Calls one profile's model for all runs of a process. Call all methods on the event loop's thread."""

    def __init__(self, name: str, profile: Profile) -> None:
        self._name = name
        self._profile = profile
        self._key = profile.key()
        self._client: AsyncOpenAI | None = None
        self._client_lock = asyncio.Lock()
        self._form = RequestFormat()

    async def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], gate: Quota) -> Reply:
        """Returns the model's answer to `messages`. Raises ModelFailed.

        Cancellation closes the connection at once. If the server rejects the format, a simpler one is used. A
        failed call is retried while the step has time.
        """
        client = await self._ready()
        meter = UsageMeter(gate)
        try:
            reply = await self._answer(client, messages, schema, meter)
        except ModelFailed as failure:
            wasted = Usage(meter.calls, 0, 0, meter.seconds(), self._profile.cost(0, 0), self._profile.model)
            raise failure.with_usage(wasted if meter.calls else None) from None
        return replace(reply, usage=replace(reply.usage, calls=meter.calls, seconds=meter.seconds()))

    async def _answer(
        self, client: "AsyncOpenAI", messages: Sequence[Message], schema: Mapping[str, Any], meter: UsageMeter
    ) -> Reply:
        form, reason = self._form, ""
        for retry in range(self._profile.retries + 1):
            try:
                while True:
                    try:
                        async with meter.place():
                            reply = await self._call_with_metrics(client, messages, schema, form)
                            await meter.gate.spent(reply.usage.input_tokens + reply.usage.output_tokens)
                        break
                    except _RequestRejected as rejected:
                        reason = reason or f"{rejected.status}: {rejected.message}"
                        simpler = form.after(rejected.message)
                        if simpler is None:
                            raise self._failed("rejects our requests", f" ({reason})") from None
                        form = simpler
            except _RetryableError as failure:
                await self._pause(failure, retry)
                continue
            self._form = form
            return reply
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()

    async def _ready(self) -> "AsyncOpenAI":
        # The import and reading certificates take a second and must not block the loop.
        if self._client is None:
            async with self._client_lock:
                if self._client is None:
                    try:
                        self._client = await asyncio.to_thread(self._make_client)
                    except (OSError, ImportError, ValueError) as error:
                        # For example a proxy of an unknown kind, or a missing file of authorities.
                        raise self._failed(
                            "cannot be called with the proxy and certificate variables of the workers "
                            f"({type(error).__name__})",
                            f": {error}",
                        ) from None
        return self._client

    def _make_client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # noqa: PLC0415 - see _ready

        client = AsyncOpenAI(
            base_url=self._profile.base_url,
            api_key=self._key,
            max_retries=0,
            timeout=self._profile.timeout_s,
            # Ignore OPENAI_… variables of the environment.
            organization="",
            project="",
            default_headers={"Accept-Encoding": "identity"},
            http_client=DefaultAsyncHttpxClient(
                # A redirect may lead inside, where the operator has allowed no model.
                follow_redirects=False,
                event_hooks={"response": [limit_body]},
                # Proxies and authorities serve other hosts; for a loopback address a proxy would connect to itself.
                trust_env=not is_loopback(httpx.URL(self._profile.base_url).host),
            ),
        )
        _ = client.chat.completions
        return client

    async def _call_with_metrics(
        self, client: "AsyncOpenAI", messages: Sequence[Message], schema: Mapping[str, Any], form: RequestFormat
    ) -> Reply:
        """Makes one request and records it in the metrics."""
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
        metrics.count_llm_usage(model, input_tokens=used.input_tokens, output_tokens=used.output_tokens, cost=used.cost)
        return reply

    async def _call(
        self,
        client: "AsyncOpenAI",
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        form: RequestFormat,
    ) -> Reply:
        """Makes one request. Raises _RequestRejected, _RetryableError, ModelFailed."""
        import openai  # noqa: PLC0415 - see _ready

        profile = self._profile
        sent = list(without_system_messages(messages) if form.plain else messages)
        body: dict[str, Any] = {"model": profile.model, "messages": sent}
        body[form.tokens_field] = profile.max_output_tokens
        if profile.temperature is not None:
            body["temperature"] = profile.temperature
        if FORMATS[form.format] == "json_schema":
            decision = {"name": "decision", "schema": dict(schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": decision}
        elif FORMATS[form.format] == "json_object":
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
                raise self._failed("sent an answer that is too large") from None
            raise _RetryableError(f"cannot be reached ({type(error.__cause__ or error).__name__})") from None
        except ResponseTooLarge:
            raise self._failed("sent an answer that is too large") from None
        except NotACompletion as other:
            if other.status is not None:
                self._raise_for_status(other.status, other.words, httpx.Headers())
            words = self._server_message(other.words)
            what = "answered with something other than a chat completion"
            raise _RetryableError(what, said=f": {words}" if words else "") from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise _RetryableError(
                f"answered with something other than a chat completion ({type(error).__name__})"
            ) from None

    async def _complete(self, client: "AsyncOpenAI", body: dict[str, Any]) -> Reply:
        answer = await client.chat.completions.with_raw_response.create(**body)
        completion = Completion()
        completion.add(loads_bounded(answer.http_response.content))
        return self._reply(completion, body)

    async def _stream(self, client: "AsyncOpenAI", body: dict[str, Any]) -> Reply:
        completion = Completion()
        options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        async with client.chat.completions.with_streaming_response.create(**body, **options) as answer:
            response = answer.http_response
            if "event-stream" not in response.headers.get("content-type", "event-stream"):
                # Some servers answer as a whole, for example with an error.
                completion.add(loads_bounded(await response.aread()))
                return self._reply(completion, body)
            async for data in server_sent_data(response):
                # Pieces that have arrived together are read without a pause; let other runs come in between.
                await asyncio.sleep(0)
                if data.strip() == "[DONE]":
                    return self._reply(completion, body)
                completion.add(loads_bounded(data.encode()))
        if not completion.is_complete():
            raise NotACompletion("the stream broke off")
        return self._reply(completion, body)

    def _reply(self, completion: Completion, body: dict[str, Any]) -> Reply:
        text = completion.text()
        sent = count(completion.usage, "prompt_tokens", "input_tokens")
        written = count(completion.usage, "completion_tokens", "output_tokens")
        if sent is None or written is None:
            # The server reports no usage: use the estimate of the prompt budget.
            sent, written = estimate_tokens(body["messages"]), estimate_tokens([{"content": text}])
        profile = self._profile
        usage = Usage(1, sent, written, 0.0, profile.cost(sent, written), profile.model)
        return Reply(self._redact_key(text), usage, cut=completion.is_cut, refusal=self._redact_key(completion.refusal))

    def _raise_for_status(self, status: int, message: str, headers: httpx.Headers) -> None:
        """Raises the error that an answer with an error status stands for."""
        message = self._server_message(message)
        profile = self._profile
        said = f": {message}"
        if status in (401, 403):
            raise self._failed(
                f"does not accept the key of profile {self._name!r} ({status})",
                f"{said} Set a key that it accepts (UNDERSTUDY_LLM_API_KEY, or api_key in the profile) for the workers",
            )
        if status == 404:
            raise self._failed(
                f"does not know the model {profile.model!r}, or is not at its address (404)",
                f"{said} Set UNDERSTUDY_LLM_MODEL to a model that it has, and UNDERSTUDY_LLM_BASE_URL to the "
                "address of its API, which usually ends in /v1 (or model and base_url in the profile)",
            )
        if 300 <= status < 400:
            raise self._failed(
                f"answered with a redirect ({status}), which is not followed",
                ". Set UNDERSTUDY_LLM_BASE_URL to its final address (or base_url in the profile)",
            )
        if status in (408, 409, 425, 429) or status >= 500:
            if "insufficient_quota" in message:
                raise self._failed(f"says that the account is used up ({status})", said)
            result: metrics.LlmResult = "rate_limited" if status == 429 else "failed"
            raise _RetryableError(f"answered {status}", retry_after_s(headers), result, said)
        if status in (400, 415, 422):
            raise _RequestRejected(status, message)
        raise self._failed(f"answered {status}", said)

    async def _pause(self, failure: _RetryableError, retry: int) -> None:
        """Waits before the next attempt. Raises ModelFailed if no attempt is left or the step has no time."""
        times = f" (tried {retry + 1} times)" if retry else ""
        if retry >= self._profile.retries:
            raise self._failed(failure.what, failure.said, times) from None
        pause_s = min(_FIRST_PAUSE_S * 2**retry, _LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)  # noqa: S311
        if failure.after_s is not None:
            # Never earlier than the server asks for; jitter spreads the retries.
            pause_s = failure.after_s + random.uniform(0, 0.25)  # noqa: S311
        if pause_s >= current_timer().remaining_s():
            raise self._failed(
                failure.what,
                failure.said,
                f"; the next attempt would be in {pause_s:.0f} s, which is more than the step has left. Set a longer "
                "step_timeout, or run fewer participants at a time",
            ) from None
        await asyncio.sleep(pause_s)

    def _timeout_error(self) -> _RetryableError:
        return _RetryableError(f"gave no answer within {self._profile.timeout_s:g} s", result="timeout")

    def _failed(self, what: str, said: str = "", more: str = "") -> ModelFailed:
        """Returns a failure. Callers are told neither the address nor `said`: a server may name other addresses."""
        return ModelFailed(
            f"The language model at {self._profile.display_url} {what}{said}{more}.",
            told=f"The language model of profile {self._name!r} {what}{more}.",
        )

    def _server_message(self, message: str) -> str:
        """Returns a server's message, short, on one line, and without the key."""
        words = " ".join(self._redact_key(message).split())
        return words if len(words) <= _MAX_SERVER_MESSAGE else words[:_MAX_SERVER_MESSAGE] + "…"

    def _redact_key(self, text: str) -> str:
        """Returns `text` without the key, in case the server repeats it."""
        secret = self._key != NO_KEY and len(self._key) >= 4
        return text.replace(self._key, "***") if secret else text


_endpoints: dict[tuple[str, int], Endpoint] = {}


def endpoint_of(name: str, workspace: Workspace) -> tuple[Endpoint, Profile]:
    """Returns a profile's endpoint and the profile. Raises ModelFailed if `workspace` cannot use it."""
    name = name or DEFAULT
    profile = profile_for(workspace, name)
    # One per event loop: connections belong to the loop that opened them.
    key = (name, id(asyncio.get_running_loop()))
    if key not in _endpoints:
        try:
            _endpoints[key] = Endpoint(name, profile)
        except ModelFailed as failure:
            raise ModelFailed(str(failure), told=not_available(name)) from None
    return _endpoints[key], profile
