"""The mind `llm` and a server that speaks its protocol: well, badly, slowly, or not at all."""

import asyncio
import contextlib
import email.utils
import json
import time
from collections import Counter, defaultdict
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
BAD_REQUEST = {"status": 400}


class Nobody:
    """A gate that anybody may pass."""

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
    """A model of this test's own."""
    return f"script:{request.node.name}".replace(" ", "_")


def ask(fake: FakeModel, model: str, *acts: dict[str, Any], limit_s: float = 60, **terms: Any) -> Decision:
    """What comes of a turn when the server answers so."""
    fake.script(model.removeprefix("script:"), *acts)

    async def scene() -> Decision:
        start_timer(limit_s)
        terms.setdefault("base_url", fake.base_url)
        endpoint = Endpoint("default", Profile.model_validate({"model": model, "api_key": KEY, **terms}))
        try:
            return await decide(TURN, endpoint, Nobody(), 8_000)
        finally:
            await endpoint.close()

    return asyncio.run(scene())


def refused(fake: FakeModel, model: str, *acts: dict[str, Any], **terms: Any) -> ModelFailed:
    with pytest.raises(ModelFailed) as failure:
        ask(fake, model, *acts, **terms)
    assert KEY not in str(failure.value)
    return failure.value


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that we choose ourselves are short."""
    monkeypatch.setattr("understudy.models.endpoint.endpoint._FIRST_PAUSE_S", 0.01)


# -- what goes well ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_decision_and_what_it_took(fake: FakeModel, model: str, stream: bool) -> None:
    made = ask(fake, model, GOOD, stream=stream, input_price=2, output_price=10)
    assert (made.thought, made.action.kind, made.action.target) == (DECISION["thought"], "follow", "Mugs")
    assert made.memory == {"note": "I want a blue one."}
    (request,) = fake.seen(model)
    body = request["body"]
    assert request["headers"]["authorization"] == f"Bearer {KEY}"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    used = made.usage
    assert used is not None
    counted = sum(len(message["content"]) for message in body["messages"]) // 4
    assert abs(used.input_tokens - counted) <= 1
    assert used.cost == pytest.approx((used.input_tokens * 2 + used.output_tokens * 10) / 1e6)
    assert (used.calls, used.model) == (1, model)
    assert 0 < used.seconds < 60


def test_a_server_that_does_not_count_is_counted_for(fake: FakeModel, model: str) -> None:
    used = ask(fake, model, GOOD | {"usage": False}).usage
    assert used is not None
    assert used.input_tokens > 100
    assert used.cost is None


def test_a_slow_drip_is_waited_for(fake: FakeModel, model: str) -> None:
    assert ask(fake, model, GOOD | {"drip_s": 0.01}, stream=True).action.kind == "follow"
    assert ask(fake, model, GOOD | {"drip_s": 0.01}).action.kind == "follow"


def test_a_simpler_form_is_used_where_the_best_is_refused(fake: FakeModel, model: str) -> None:
    no_schema = {"refuses": "json_schema", "because": "response_format json_schema is not supported", **GOOD}
    ask(fake, model, no_schema)
    assert [r["body"]["response_format"]["type"] for r in fake.seen(model)] == ["json_schema", "json_object"]


def test_newer_models_are_told_their_limit_in_the_newer_word(fake: FakeModel, model: str) -> None:
    said = "Unsupported parameter: use 'max_completion_tokens' instead."
    ask(fake, model, {"refuses": '"max_tokens"', "because": said, **GOOD})
    assert fake.seen(model)[-1]["body"]["max_completion_tokens"] == 2_000


def test_models_without_system_messages_get_none(fake: FakeModel, model: str) -> None:
    said = "Conversation roles must alternate user/assistant"
    ask(fake, model, {"refuses": '"system"', "because": said, **GOOD})
    assert [message["role"] for message in fake.seen(model)[-1]["body"]["messages"]] == ["user"]


# -- what is made good -------------------------------------------------------------------------------------


def test_what_is_no_decision_is_told_so_once_and_made_good(fake: FakeModel, model: str) -> None:
    made = ask(fake, model, {"content": "I would love to!"}, GOOD)
    first, second = (entry["body"]["messages"] for entry in fake.seen(model))
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": "I would love to!"}
    assert "no complete JSON object" in second[-1]["content"]
    assert made.usage is not None
    assert made.usage.calls == 2


def test_who_errs_again_fails_with_what_it_took(fake: FakeModel, model: str) -> None:
    wrong = DECISION | {"action": {"kind": "follow", "element": 7, "value": None}}
    failure = refused(fake, model, {"decision": wrong})
    assert "must be the number of a link: 1." in str(failure)
    assert failure.usage is not None
    assert failure.usage.calls == len(fake.seen(model)) == 2
    assert failure.usage.input_tokens > 0


def test_a_refusal_is_an_error_with_its_reason(fake: FakeModel, model: str) -> None:
    assert "I can't help" in str(refused(fake, model, {"content": "", "refusal": "I can't help with that."}))


def test_what_is_cut_off_says_so(fake: FakeModel, model: str) -> None:
    cut = {"content": '{"thought": "Mu', "finish_reason": "length"}
    assert "max_output_tokens" in str(refused(fake, model, cut))


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_passes_is_tried_again(fake: FakeModel, model: str, status: int) -> None:
    made = ask(fake, model, {"status": status}, {"status": status}, GOOD)
    assert made.usage is not None
    assert made.usage.calls == 3


def test_who_says_when_to_come_back_is_not_asked_before(fake: FakeModel, model: str) -> None:
    ask(fake, model, {"status": 429, "headers": {"Retry-After": "1"}}, GOOD)
    first, second = fake.seen(model)
    assert second["at"] - first["ended_at"] >= 1


@pytest.mark.parametrize(
    ("told", "least_s", "most_s"),
    [
        ({"Retry-After": "2.5"}, 2.5, 2.5),
        ({"Retry-After": "7", "retry-after-ms": "1500"}, 1.5, 1.5),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"Retry-After": "-3"}, 0, 0),
        ({"Retry-After": "soon"}, None, None),
        ({"Retry-After": "nan"}, None, None),
        ({}, None, None),
    ],
    ids=[
        "seconds",
        "milliseconds",
        "a date gone by",
        "below zero",
        "words",
        "no number",
        "nothing",
    ],
)
def test_when_to_come_back_is_told_in_several_ways(
    told: dict[str, str], least_s: float | None, most_s: float | None
) -> None:
    pause_s = retry_after_s(httpx.Headers(told))
    if least_s is None or most_s is None:
        assert pause_s is None
    else:
        assert pause_s is not None
        assert least_s <= pause_s <= most_s


def test_when_to_come_back_may_be_a_date() -> None:
    in_an_hour = email.utils.formatdate(time.time() + 3600, usegmt=True)
    pause_s = retry_after_s(httpx.Headers({"Retry-After": in_an_hour}))
    assert pause_s is not None
    assert 3500 < pause_s <= 3601


def test_nobody_waits_longer_than_the_step_has(fake: FakeModel, model: str) -> None:
    began = time.monotonic()
    failure = refused(fake, model, {"status": 429, "headers": {"Retry-After": "3600"}})
    assert time.monotonic() - began < 60
    assert "more than the step has left" in str(failure)
    assert len(fake.seen(model)) == 1


def test_tries_come_to_an_end(fake: FakeModel, model: str) -> None:
    failure = refused(fake, model, {"status": 500, "because": f"no {KEY} today"}, retries=2)
    assert "answered 500: no *** today (tried 3 times)" in str(failure)
    assert failure.usage == Usage(3, 0, 0, failure.usage.seconds if failure.usage else 0, None, model)


BROKEN = {
    "garbage": {"text": "<html>Bad gateway</html>"},
    "nothing": {"text": ""},
    "another thing": {"json": {"hello": "world"}},
    "a list": {"json": [1, 2]},
    "no choices": {"json": {"choices": []}},
    "no message": {"json": {"choices": [{"index": 0}]}},
    "half": {"text": '{"choices": [{"message": {"conte'},
    "hung up": {"hang_up": True},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_is_no_completion_is_tried_again(
    fake: FakeModel, model: str, broken: dict[str, Any], stream: bool
) -> None:
    assert ask(fake, model, broken, GOOD, stream=stream).action.kind == "follow"
    assert "The language model at" in str(refused(fake, model, broken, retries=0, stream=stream))


def test_a_broken_stream_is_tried_again(fake: FakeModel, model: str) -> None:
    assert ask(fake, model, GOOD | {"broken": True}, GOOD, stream=True).action.kind == "follow"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_who_never_answers_is_given_up(fake: FakeModel, model: str, stream: bool) -> None:
    failure = refused(fake, model, {"hang": True}, timeout_s=0.5, retries=1, stream=stream)
    assert "gave no answer within 0.5 s" in str(failure)
    wait_until(lambda: {entry["end"] for entry in fake.seen(model)} == {"closed"})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_who_drips_for_ever_is_given_up(fake: FakeModel, model: str, stream: bool) -> None:
    failure = refused(fake, model, GOOD | {"drip_s": 0.15}, timeout_s=0.4, retries=0, stream=stream)
    assert "gave no answer within 0.4 s" in str(failure)


def test_who_sends_without_end_is_cut(fake: FakeModel, model: str) -> None:
    assert "too large" in str(refused(fake, model, {"endless": True}))


def test_who_packs_its_answer_unasked_is_understood_and_cut_when_it_swells(fake: FakeModel, model: str) -> None:
    message = {"role": "assistant", "content": json.dumps(DECISION)}
    whole = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert ask(fake, model, {"packed": whole}).action.kind == "follow"
    # A hundred megabytes in a hundred kilobytes.
    assert "too large" in str(refused(fake, model, {"packed": whole, "spaces": 100_000_000}))


def test_nobody_there_is_said(fake: FakeModel, model: str) -> None:
    # Port 9 discards, where anybody listens at all.
    failure = refused(fake, model, GOOD, base_url="http://127.0.0.1:9/v1", retries=1)
    assert "http://127.0.0.1:9/v1 cannot be reached" in str(failure)


# -- what nobody can make good -----------------------------------------------------------------------------


def test_a_wrong_key_is_named_by_its_profile_and_never_told(fake: FakeModel, model: str) -> None:
    fake.key("another")
    try:
        failure = refused(fake, model, GOOD)
    finally:
        fake.key(None)
    assert "does not accept the key of profile 'default' (401)" in str(failure)
    assert len(fake.seen(model)) == 1


def test_a_key_that_a_model_says_is_not_told_on(fake: FakeModel, model: str) -> None:
    made = ask(fake, model, {"decision": DECISION | {"thought": f"I was sent {KEY}.", "note": KEY}})
    assert (made.thought, made.memory) == ("I was sent ***.", {"note": "***"})
    assert KEY not in str(refused(fake, model, {"content": "", "refusal": f"Not with {KEY}."}))


def test_without_a_key_nothing_is_blacked_out(fake: FakeModel, model: str) -> None:
    failure = refused(fake, model, {"status": 404, "because": "there is none"}, api_key=None)
    assert "(404): there is none" in str(failure)


def test_an_unknown_model_is_said(fake: FakeModel) -> None:
    assert "does not know the model 'nobody'" in str(refused(fake, "nobody", GOOD))


def test_an_account_that_is_used_up_is_not_asked_again(fake: FakeModel, model: str) -> None:
    used_up = {"status": 429, "json": {"error": {"message": "Pay.", "code": "insufficient_quota"}}}
    assert "account is used up" in str(refused(fake, model, used_up))
    assert len(fake.seen(model)) == 1


def test_a_request_that_is_refused_in_every_form_says_why(fake: FakeModel, model: str) -> None:
    failure = refused(fake, model, BAD_REQUEST | {"because": "messages are too long"})
    assert "rejects our requests (400: messages are too long)" in str(failure)


def test_who_is_cancelled_hangs_up_at_once(fake: FakeModel, model: str) -> None:
    fake.script(model.removeprefix("script:"), {"hang": True})

    async def scene() -> None:
        endpoint = Endpoint("default", Profile(base_url=fake.base_url, model=model))
        deciding = asyncio.create_task(decide(TURN, endpoint, Nobody(), 8_000))
        await asyncio.to_thread(wait_until, lambda: fake.seen(model))
        deciding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deciding
        # Before the client is closed: it is the call that hangs up.
        await asyncio.to_thread(fake.wait_for, model, "closed")
        await endpoint.close()

    asyncio.run(scene())


def test_calls_are_told_to_the_metrics(fake: FakeModel, model: str) -> None:
    def told() -> Counter[str]:
        samples = [sample for metric in metrics.llm_calls.collect() for sample in metric.samples]
        counted: Counter[str] = Counter()
        for sample in samples:
            if sample.name.endswith("_total"):
                counted[sample.labels["result"]] += int(sample.value)
        return counted

    before = told()
    ask(fake, model, {"status": 429}, {"status": 500}, {"hang": True}, GOOD, timeout_s=0.5)
    assert told() - before == {"answered": 1, "rate_limited": 1, "failed": 1, "timeout": 1}


def test_tokens_and_cost_are_told_to_the_metrics(fake: FakeModel, model: str) -> None:
    def told() -> dict[str, float]:
        """Of all models: a process has names for so many."""
        counted: dict[str, float] = defaultdict(float)
        for metric in (*metrics.llm_tokens.collect(), *metrics.llm_cost.collect()):
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    counted[sample.labels.get("kind", "cost")] += sample.value
        return counted

    before = told()
    used = ask(fake, model, GOOD, input_price=2, output_price=10).usage
    after = told()
    assert used is not None
    assert after["input"] - before["input"] == used.input_tokens
    assert after["output"] - before["output"] == used.output_tokens
    assert after["cost"] - before["cost"] == pytest.approx(used.cost)
    ask(fake, model, GOOD)
    assert told()["cost"] == after["cost"], "without prices nothing"
