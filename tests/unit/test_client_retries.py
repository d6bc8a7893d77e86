"""A client that retries comes back no sooner than the server asks, also after a refused start or stream."""

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from understudy.client import RateLimited, ServiceUnavailable, Understudy, UsageLimitReached
from understudy.client import transport as sending
from understudy.client.event_reader import EventReader
from understudy.client.exchange import Exchange
from understudy.client.server_address import ServerAddress

PAGE = {"items": [], "next_cursor": None}
DISPATCHED = {"ok": True, "dispatch": {"participant_ids": []}, "participants": []}


def body(code: str, *, retryable: bool, **fields: Any) -> dict[str, Any]:
    return {"error": "No.", "error_code": code, "retryable": retryable, "suggestions": [], **fields}


REFUSED = body("rate_limited", retryable=True)
#: The same as the answer of a start.
NOT_STARTED = REFUSED | {"ok": False, "error_kind": "rate_limited"}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(sending.time, "sleep", pauses.append)
    return pauses


def client_of(retries: int, *answers: httpx.Response) -> Understudy:
    waiting = iter(answers)
    return Understudy(
        "http://127.0.0.1:1", "secret", retries=retries, wire=httpx.MockTransport(lambda _: next(waiting))
    )


def limited(retry_after: str, answer: Any = REFUSED, status: int = 429) -> httpx.Response:
    return httpx.Response(status, json=answer, headers={"Retry-After": retry_after} if retry_after else {})


@pytest.mark.parametrize(
    ("retry_after", "at_least_s"),
    [
        (lambda: "7", 7),
        (lambda: formatdate(time.time() + 100, usegmt=True), 95),
        (lambda: formatdate(time.time() - 100, usegmt=True), 0),
        *((lambda text=text: text, 0) for text in ("", "soon", "-3", "1.5", "9" * 30, "٣", "Mon, 99 Foo")),
    ],
)
def test_a_retry_comes_after_the_time_that_the_server_asks_for(
    slept: list[float], retry_after: Callable[[], str], at_least_s: float
) -> None:
    text = retry_after()
    refused = limited("" if not text.isascii() else text)
    with client_of(1, refused, httpx.Response(200, json=PAGE)) as client:
        assert client.study_list().items == []
    (pause_s,) = slept
    assert at_least_s <= pause_s < at_least_s + 6


def test_a_refused_start_is_sent_again_and_the_last_refusal_is_the_answer(slept: list[float]) -> None:
    started = httpx.Response(202, json=DISPATCHED)
    with client_of(1, limited("3", NOT_STARTED), started) as client:
        assert client.study_run("s-b2c", sample=1).ok
    assert slept[0] >= 3
    with client_of(1, limited("3", NOT_STARTED), limited("3", NOT_STARTED)) as client:
        refused = client.study_run("s-b2c", sample=1)
    assert (refused.ok, refused.retryable) == (False, True)
    assert len(slept) == 2
    with client_of(0, limited("3", NOT_STARTED)) as client:
        assert not client.study_run("s-b2c", sample=1).ok
    assert len(slept) == 2


def test_without_retries_the_error_says_when_to_come_back(slept: list[float]) -> None:
    with client_of(0, limited("9")) as client, pytest.raises(RateLimited) as raised:
        client.study_list()
    assert (raised.value.retry_after_s, raised.value.rule) == (9, (429, True, 5))
    with client_of(0, limited("4", "from a proxy")) as client, pytest.raises(RateLimited):
        client.study_list()
    away = limited("4", body("service_unavailable", retryable=True), 503)
    with client_of(1, away, away) as client, pytest.raises(ServiceUnavailable):
        client.study_list()
    assert len(slept) == 1
    assert slept[0] >= 4


def test_a_used_up_quota_is_not_retried(slept: list[float]) -> None:
    used_up = httpx.Response(403, json=body("usage_limit_reached", retryable=False))
    with client_of(3, used_up) as client, pytest.raises(UsageLimitReached) as raised:
        client.study_list()
    assert (raised.value.rule, slept) == ((403, False, 1), [])


def test_a_refused_stream_reconnects_after_the_time_that_the_server_asks_for() -> None:
    exchange = Exchange(ServerAddress("http://127.0.0.1:1", "secret"), timeout_s=1)
    reader = EventReader(exchange, {"study_id": "s-b2c"}, None, follow=True, timeout_s=30)
    reader.lost(RateLimited("No.", retry_after_s=5))
    assert reader.pause_s == 5
    reader.lost(ServiceUnavailable("Gone."))
    assert reader.pause_s == 1
    impatient = EventReader(exchange, {"study_id": "s-b2c"}, None, follow=True, timeout_s=-1)
    with pytest.raises(RateLimited):
        impatient.lost(RateLimited("No.", retry_after_s=5))
