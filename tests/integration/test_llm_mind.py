"""The mind `llm` with a model server that answers well, badly, slowly, or not at all."""

import asyncio
import contextlib
import email.utils
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.models import FakeModel
from tests.servers import wait_until
from understudy.domain.simulation import Assignment, Decision, Element, Observation, Person, Turn, Usage
from understudy.minds.llm import decide
from understudy.models import ModelFailed
from understudy.models.endpoint.endpoint import Endpoint
from understudy.models.endpoint.response_limits import retry_after_s
from understudy.models.profiles import Profile
from understudy.plugins.time_limits import start_timer
from understudy.telemetry import metrics

KEY = "sk-a-key-that-nobody-else-may-see"
ADA = Person("Ada Löve", 36, "GB", "en", {"patience": 0.5})
PAGE = Observation(
    url="http://shop.test/",
    title="Shop",
    elements=(Element(1, "link", "Mugs", href="http://shop.test/mugs"),),
    status=200,
)
TURN = Turn(ADA, Assignment("Buy a blue mug"), PAGE)
DECISION = {
    "thought": "Mugs — schöne!",
    "action": {"kind": "follow", "element": 1, "value": None},
    "sentiment": 0.5,
    "note": "I want a blue one.",
}
GOOD = {"decision": DECISION}


class Unlimited:
    """A quota without limits."""

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        yield

    async def spent(self, tokens: int) -> None:
        pass


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeModel]:
    with FakeModel.serving() as serving:
        yield serving


@pytest.fixture
def model(fake: FakeModel, request: pytest.FixtureRequest) -> str:
    """A model of this test alone."""
    return f"script:{request.node.name}".replace(" ", "_")


def ask(fake: FakeModel, model: str, *acts: dict[str, Any], limit_s: float = 60, **terms: Any) -> Decision:
    """The decision of a turn if the server answers so."""
    fake.script(model.removeprefix("script:"), *acts)

    async def scene() -> Decision:
        start_timer(limit_s)
        terms.setdefault("base_url", fake.base_url)
        endpoint = Endpoint("default", Profile.model_validate({"model": model, "api_key": KEY, **terms}))
        try:
            return await decide(TURN, endpoint, Unlimited(), 8_000)
        finally:
            await endpoint.close()

    return asyncio.run(scene())


def fail(fake: FakeModel, model: str, *acts: dict[str, Any], **terms: Any) -> ModelFailed:
    with pytest.raises(ModelFailed) as failure:
        ask(fake, model, *acts, **terms)
    assert KEY not in str(failure.value)
    return failure.value


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the pause before a retry."""
    monkeypatch.setattr("understudy.models.endpoint.endpoint._FIRST_PAUSE_S", 0.01)


streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@streamed_or_not
def test_decision_with_its_usage(fake: FakeModel, model: str, stream: bool) -> None:
    made = ask(fake, model, GOOD, stream=stream, input_price=2, output_price=10)
    assert (made.thought, made.action.kind, made.action.target) == (DECISION["thought"], "follow", "Mugs")
    assert made.memory == {"note": "I want a blue one."}
    (request,) = fake.seen(model)
    body = request["body"]
    assert request["headers"]["authorization"] == f"Bearer {KEY}"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    used = made.usage
    counted = sum(len(message["content"]) for message in body["messages"]) // 4
    assert abs(used.input_tokens - counted) <= 1
    assert used.cost == pytest.approx((used.input_tokens * 2 + used.output_tokens * 10) / 1e6)
    assert (used.calls, used.model) == (1, model)
    assert 0 < used.seconds < 60


def test_tokens_are_estimated_if_the_server_does_not_count_them(fake: FakeModel, model: str) -> None:
    used = ask(fake, model, GOOD | {"usage": False}).usage
    assert used.input_tokens > 100
    assert used.cost is None


@streamed_or_not
def test_slow_answer_within_the_timeout_is_a_decision(fake: FakeModel, model: str, stream: bool) -> None:
    assert ask(fake, model, GOOD | {"drip_s": 0.01}, stream=stream).action.kind == "follow"


@pytest.mark.parametrize(
    ("refused", "because", "expected"),
    [
        ("json_schema", "response_format json_schema is not supported", {"response_format": {"type": "json_object"}}),
        (
            '"max_tokens"',
            "Unsupported parameter: use 'max_completion_tokens' instead.",
            {"max_completion_tokens": 2_000},
        ),
        ('"system"', "Conversation roles must alternate user/assistant", {"roles": ["user"]}),
    ],
    ids=["schema", "max_tokens", "system message"],
)
def test_refused_form_of_a_request_is_replaced(
    fake: FakeModel, model: str, refused: str, because: str, expected: dict[str, Any]
) -> None:
    ask(fake, model, {"refuses": refused, "because": because, **GOOD})
    body = fake.seen(model)[-1]["body"]
    body["roles"] = [message["role"] for message in body["messages"]]
    assert body | expected == body


def test_invalid_decision_is_corrected_once(fake: FakeModel, model: str) -> None:
    made = ask(fake, model, {"content": "I would love to!"}, GOOD)
    first, second = (entry["body"]["messages"] for entry in fake.seen(model))
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": "I would love to!"}
    assert "no complete JSON object" in second[-1]["content"]
    assert made.usage.calls == 2


def test_second_invalid_decision_fails_with_its_usage(fake: FakeModel, model: str) -> None:
    wrong = DECISION | {"action": {"kind": "follow", "element": 7, "value": None}}
    failure = fail(fake, model, {"decision": wrong})
    assert "must be the number of a link: 1." in str(failure)
    assert failure.usage.calls == len(fake.seen(model)) == 2
    assert failure.usage.input_tokens > 0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_temporary_error_is_retried(fake: FakeModel, model: str, status: int) -> None:
    made = ask(fake, model, {"status": status}, {"status": status}, GOOD)
    assert made.usage.calls == 3


def test_retry_waits_as_long_as_the_server_says(fake: FakeModel, model: str) -> None:
    ask(fake, model, {"status": 429, "headers": {"Retry-After": "1"}}, GOOD)
    first, second = fake.seen(model)
    assert second["at"] - first["ended_at"] >= 1


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"Retry-After": "2.5"}, 2.5),
        ({"Retry-After": "7", "retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": email.utils.formatdate(time.time() + 86_400, usegmt=True)}, pytest.approx(86_400, abs=3_600)),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
    ids=["seconds", "milliseconds", "past date", "future date", "negative", "words", "not a number", "missing"],
)
def test_retry_after_header_is_read_as_seconds(headers: dict[str, str], pause_s: float | None) -> None:
    assert retry_after_s(httpx.Headers(headers)) == pause_s


def test_retries_end_with_the_last_error(fake: FakeModel, model: str) -> None:
    failure = fail(fake, model, {"status": 500, "because": f"no {KEY} today"}, retries=2)
    assert "answered 500: no *** today (tried 3 times)" in str(failure)
    assert failure.usage == Usage(3, 0, 0, failure.usage.seconds if failure.usage else 0, None, model)


BROKEN = {
    "garbage": {"text": "<html>Bad gateway</html>"},
    "nothing": {"text": ""},
    "another object": {"json": {"hello": "world"}},
    "a list": {"json": [1, 2]},
    "no choices": {"json": {"choices": []}},
    "no message": {"json": {"choices": [{"index": 0}]}},
    "half": {"text": '{"choices": [{"message": {"conte'},
    "closed connection": {"hang_up": True},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
@streamed_or_not
def test_invalid_completion_is_retried(fake: FakeModel, model: str, broken: dict[str, Any], stream: bool) -> None:
    assert ask(fake, model, broken, GOOD, stream=stream).action.kind == "follow"
    assert "The language model at" in str(fail(fake, model, broken, retries=0, stream=stream))


def test_broken_stream_is_retried(fake: FakeModel, model: str) -> None:
    assert ask(fake, model, GOOD | {"broken": True}, GOOD, stream=True).action.kind == "follow"


@streamed_or_not
@pytest.mark.parametrize(
    ("act", "retries"), [({"hang": True}, 1), (GOOD | {"drip_s": 0.15}, 0)], ids=["silent", "endless drip"]
)
def test_timeout_ends_the_call_and_its_connection(
    fake: FakeModel, model: str, act: dict[str, Any], retries: int, stream: bool
) -> None:
    failure = fail(fake, model, act, timeout_s=0.5, retries=retries, stream=stream)
    assert "gave no answer within 0.5 s" in str(failure)
    fake.wait_for(model, "closed", retries + 1)


PACKED = json.dumps({"choices": [{"message": {"role": "assistant", "content": json.dumps(DECISION)}}]})


def test_compressed_answer_is_read(fake: FakeModel, model: str) -> None:
    assert ask(fake, model, {"packed": PACKED}).action.kind == "follow"


@pytest.mark.parametrize(
    ("act", "error", "requests"),
    [
        # Two requests: an answer without a decision is corrected once.
        ({"content": "", "refusal": "I can't help with that."}, "I can't help", 2),
        ({"content": "", "refusal": f"Not with {KEY}."}, "Not with ***", 2),
        ({"content": '{"thought": "Mu', "finish_reason": "length"}, "max_output_tokens", 2),
        ({"endless": True}, "too large", 1),
        # A hundred megabytes in a hundred kilobytes.
        ({"packed": PACKED, "spaces": 100_000_000}, "too large", 1),
        ({"status": 429, "headers": {"Retry-After": "3600"}}, "more than the step has left", 1),
        ({"status": 429, "json": {"error": {"message": "", "code": "insufficient_quota"}}}, "account is used up", 1),
    ],
    ids=["refusal", "refusal with the key", "truncated", "endless", "bomb", "too long a pause", "account used up"],
)
def test_permanent_failure_is_not_retried(fake: FakeModel, model: str, act: Any, error: str, requests: int) -> None:
    assert error in str(fail(fake, model, act))
    assert len(fake.seen(model)) == requests


@pytest.mark.parametrize(
    ("act", "error", "terms"),
    [
        ({"status": 400, "because": "messages are too long"}, "rejects our requests (400: messages are too long)", {}),
        (GOOD, "http://127.0.0.1:9/v1 cannot be reached", {"base_url": "http://127.0.0.1:9/v1", "retries": 1}),
        # Nothing is redacted.
        ({"status": 404, "because": "there is none"}, "(404): there is none", {"api_key": None}),
    ],
    ids=["rejected in every form", "unreachable", "without a key"],
)
def test_failed_call_says_why(fake: FakeModel, model: str, act: Any, error: str, terms: dict[str, Any]) -> None:
    failure = fail(fake, model, act, **terms)
    assert error in str(failure)
    assert "127.0.0.1" not in failure.told


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500])
def test_callers_are_not_told_what_the_server_says(fake: FakeModel, model: str, status: int) -> None:
    failure = fail(fake, model, {"status": status, "because": "no route to gateway-7.internal (10.9.8.7)"}, retries=0)
    assert "gateway-7.internal" in str(failure)
    assert not any(part in failure.told for part in ("gateway-7", "10.9.8.7", "127.0.0.1"))
    assert "'default'" in failure.told


def events(*data: Any, before: str = "") -> dict[str, Any]:
    """An act that streams these events."""
    lines = "".join(f"{before}data: {each if isinstance(each, str) else json.dumps(each)}\n\n" for each in data)
    return {"text": lines, "headers": {"content_type": "text/event-stream; charset=utf-8"}}


def piece(content: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, **more}]}


WRITTEN = json.dumps(DECISION)
STREAMS = {
    "first piece without delta": events({"choices": [{"index": 0}]}, piece(WRITTEN, finish_reason="stop"), "[DONE]"),
    "no finish_reason": events(piece(WRITTEN[:20]), piece(WRITTEN[20:]), "[DONE]"),
    "empty finish_reason, no end": events(piece(WRITTEN[:20], finish_reason=""), piece(WRITTEN[20:], finish_reason="")),
    "comments": events(piece(WRITTEN), "[DONE]", before=": keep-alive\n\n"),
    "comments after an id": events(piece(WRITTEN), "[DONE]", before="id: 7\n: ping\n\n"),
    "names of events": events(piece(WRITTEN), "[DONE]", before="event: completion\nid: 7\nretry: 10\n"),
    "carriage returns": {
        "text": events(piece(WRITTEN), "[DONE]")["text"].replace("\n", "\r\n"),
        "headers": {"content_type": "text/event-stream"},
    },
    "a whole answer": {"json": {"choices": [{"message": {"content": WRITTEN}, "finish_reason": "stop"}]}},
}


@pytest.mark.parametrize("act", STREAMS.values(), ids=STREAMS)
def test_stream_of_another_form_is_a_decision(fake: FakeModel, model: str, act: dict[str, Any]) -> None:
    made = ask(fake, model, act, stream=True)
    assert (made.thought, made.usage.calls if made.usage else 0) == (DECISION["thought"], 1)


ERRORS = {
    "whole": {"json": {"error": {"message": f"no memory for {KEY} " + "x" * 500, "code": 503}}},
    "in a stream": events(piece("{"), {"error": {"message": f"no memory for {KEY} " + "x" * 500}}),
    "without a code": {"json": {"detail": f"no memory for {KEY} " + "x" * 500}},
}


@pytest.mark.parametrize(
    ("act", "stream"),
    [(ERRORS["whole"], False), (ERRORS["without a code"], False), *((act, True) for act in ERRORS.values())],
)
def test_error_inside_a_success_is_retried_and_keeps_its_words(
    fake: FakeModel, model: str, act: dict[str, Any], stream: bool
) -> None:
    failure = fail(fake, model, act, stream=stream, retries=1)
    assert "no memory for *** xxx" in str(failure)
    assert len(str(failure)) < 500
    assert "no memory" not in failure.told
    assert len(fake.seen(model)) == 2


def test_rejection_inside_a_success_is_answered_with_a_simpler_request(fake: FakeModel, model: str) -> None:
    rejected = {"json": {"error": {"message": "response_format is not supported", "code": 400}}}
    ask(fake, model, rejected, GOOD)
    formats = [entry["body"].get("response_format", {}).get("type") for entry in fake.seen(model)]
    assert formats == ["json_schema", "json_object"]


def test_stream_that_ends_in_the_middle_is_retried(fake: FakeModel, model: str) -> None:
    assert ask(fake, model, events(piece(WRITTEN[:40])), GOOD, stream=True).usage.calls == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "http://127.0.0.1:1") for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY")),
        *(("ALL_PROXY", proxy) for proxy in ("socks5://127.0.0.1:1", "gopher://x")),
        *((name, "/nowhere/ca.pem") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")),
    ],
)
def test_proxy_and_certificate_variables_do_not_touch_a_model_on_loopback(
    fake: FakeModel, model: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert ask(fake, model, GOOD, retries=0).action.kind == "follow"


@pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "gopher://x"), ("SSL_CERT_FILE", "/nowhere/ca.pem")])
def test_unusable_variable_of_a_worker_is_named_as_the_cause(
    fake: FakeModel, model: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    failure = fail(fake, model, GOOD, base_url="https://models.example/v1")
    assert "proxy and certificate variables of the workers" in failure.told


def test_rejected_key_is_named_by_its_profile(fake: FakeModel, model: str) -> None:
    fake.key("another")
    try:
        failure = fail(fake, model, GOOD)
    finally:
        fake.key(None)
    assert "does not accept the key of profile 'default' (401)" in str(failure)
    assert len(fake.seen(model)) == 1


def test_key_is_redacted_in_a_decision(fake: FakeModel, model: str) -> None:
    made = ask(fake, model, {"decision": DECISION | {"thought": f"I was sent {KEY}.", "note": KEY}})
    assert (made.thought, made.memory) == ("I was sent ***.", {"note": "***"})


def test_unknown_model_is_named(fake: FakeModel) -> None:
    assert "does not know the model 'other'" in str(fail(fake, "other", GOOD))


def test_cancelled_call_closes_its_connection_at_once(fake: FakeModel, model: str) -> None:
    fake.script(model.removeprefix("script:"), {"hang": True})

    async def scene() -> None:
        endpoint = Endpoint("default", Profile(base_url=fake.base_url, model=model))
        deciding = asyncio.create_task(decide(TURN, endpoint, Unlimited(), 8_000))
        await asyncio.to_thread(wait_until, lambda: fake.seen(model))
        deciding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deciding
        # Before `close`: the cancelled call closes the connection.
        await asyncio.to_thread(fake.wait_for, model, "closed")
        await endpoint.close()

    asyncio.run(scene())


def totals(*counters: Any) -> Counter[str]:
    """The values of the counters by result, kind, or `cost`, of all models."""
    counted: Counter[str] = Counter()
    for sample in (sample for counter in counters for metric in counter.collect() for sample in metric.samples):
        if sample.name.endswith("_total"):
            counted[sample.labels.get("result") or sample.labels.get("kind", "cost")] += sample.value
    return counted


def test_metrics_count_calls_by_result(fake: FakeModel, model: str) -> None:
    before = totals(metrics.llm_calls)
    ask(fake, model, {"status": 429}, {"status": 500}, {"hang": True}, GOOD, timeout_s=0.5)
    counted = totals(metrics.llm_calls) - before
    assert counted == {"answered": 1, "rate_limited": 1, "failed": 1, "timeout": 1}


def test_metrics_count_tokens_and_cost(fake: FakeModel, model: str) -> None:
    before = totals(metrics.llm_tokens, metrics.llm_cost)
    used = ask(fake, model, GOOD, input_price=2, output_price=10).usage
    after = totals(metrics.llm_tokens, metrics.llm_cost)
    counted = {"input": used.input_tokens, "output": used.output_tokens, "cost": pytest.approx(used.cost)}
    assert dict(after - before) == counted
    ask(fake, model, GOOD)
    assert totals(metrics.llm_cost) == {"cost": after["cost"]}, "no cost without prices"
