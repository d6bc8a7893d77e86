"""Costly pages and answers: read in a child process that ends, while others go on."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.servers import wait_until
from understudy.environments import page_lanes
from understudy.environments.page_lanes import PageLanes, PageSource
from understudy.environments.reader import read_page
from understudy.isolation import OwnFailure
from understudy.isolation import lane as lane_module
from understudy.isolation.lane import Lane, LaneLimits, LaneUser, TooCostly

LIMITS = LaneLimits(cpu_s=0.5, max_mb=300, recycle_mb=70)


def use(scene: Callable[[Lane], Awaitable[Any]], limits: LaneLimits = LIMITS) -> Any:
    async def go() -> Any:
        lane = Lane("tests.integration.lane_functions:answer", limits)
        try:
            return await scene(lane)
        finally:
            await lane.close()

    return asyncio.run(go())


async def ask(lane: Lane, do: str, body: bytes = b"", user: LaneUser | None = None, **more: Any) -> Any:
    return await lane.call({"do": do, **more}, body, user or LaneUser())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("do", ["spin", "eat", "die"])
def test_lane_whose_call_exceeds_its_limits_refuses_it_and_serves_the_next(
    monkeypatch: pytest.MonkeyPatch, do: str
) -> None:
    # Only the child's own limits end the call.
    monkeypatch.setattr(lane_module, "_ANSWER_TIMEOUT_S", 3_600)

    async def scene(lane: Lane) -> Any:
        with pytest.raises(TooCostly):
            await ask(lane, do)
        return await ask(lane, "count", b"12345")

    assert use(scene)["bytes"] == 5


def test_lane_whose_child_gets_no_processor_time_reports_a_failure_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "_ANSWER_TIMEOUT_S", 0.3)

    async def scene(lane: Lane) -> Any:
        with pytest.raises(OwnFailure, match="did not answer"):
            await ask(lane, "wait", s=60)
        monkeypatch.setattr(lane_module, "_ANSWER_TIMEOUT_S", 60)
        return await ask(lane, "count", b"12345")

    assert use(scene)["bytes"] == 5


def test_lane_raises_the_error_of_its_function_and_keeps_the_child() -> None:
    async def scene(lane: Lane) -> None:
        before = await ask(lane, "count")
        with pytest.raises(Exception, match="ValueError: no such page"):
            await ask(lane, "fail")
        assert await ask(lane, "count") == before

    use(scene)


def test_lane_whose_child_has_grown_starts_another_one() -> None:
    async def scene(lane: Lane) -> None:
        grown = (await ask(lane, "grow"))["pid"]
        assert (await ask(lane, "count"))["pid"] != grown

    use(scene)


def test_lane_gives_its_child_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_LLM_API_KEY", "sk-secret")
    assert use(lambda lane: ask(lane, "secret")) == "none"


def test_lane_whose_caller_is_aborted_ends_the_child_and_serves_the_next() -> None:
    async def scene(lane: Lane) -> int:
        pid = (await ask(lane, "count"))["pid"]
        waiting = asyncio.create_task(ask(lane, "wait", s=60))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await ask(lane, "count"))["pid"] != pid
        return int(pid)

    ended = use(scene)
    wait_until(lambda: not is_alive(ended))


def test_lane_serves_first_who_has_used_least() -> None:
    async def scene(lane: Lane) -> list[str]:
        order: list[str] = []

        async def call(name: str, used_s: float) -> None:
            await ask(lane, "count", user=LaneUser(used_s))
            order.append(name)

        first = asyncio.create_task(ask(lane, "wait", s=0.2))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(call(*who)) for who in [("much", 9.0), ("little", 0.1), ("none", 0.0)]]
        aborted = asyncio.create_task(call("aborted", 0.05))
        await asyncio.sleep(0.01)
        aborted.cancel()
        await asyncio.gather(first, *others)
        return order

    assert use(scene) == ["none", "little", "much"]


#: Pages whose cost is out of all proportion to their size.
COSTLY = {
    "unclosed formatting": b"<p>" + b"".join(b"<b a%d>" % number for number in range(499)) + b"<p>x" * 500,
    "options": b"<select>" + b"<option>x" * 40_000,
    "depth": b"<div>" * 100_000,
    "attributes": b"<a " + b" ".join(b"x%d=1" % number for number in range(50_000)) + b">",
    "links in links": b"<a href=x>y" * 40_000,
    "labels": b"<label>" * 20_000 + b"<input>" * 20_000,
    "tables": b"<table><tr><td>" * 20_000,
    "long values": b"".join(b"<input type=radio name=r value=%s>" % (b"v" * 3_000) for _ in range(300)),
    "wide letters": "<input value='{}'>".format("\U0001f600" * 90_000).encode() * 2,
    "one tag": b"<" * 1_000_000,
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_page_is_read_with_bounds_or_refused(name: str) -> None:
    """The limit of processor time is the child's; here only the size of what is kept is checked."""

    async def scene() -> Any:
        lanes = PageLanes()
        try:
            return await lanes.read(PageSource("http://shop.test/", ""), COSTLY[name], LaneUser())
        finally:
            await lanes.close()

    page = asyncio.run(scene())
    assert len(page.text) <= 20_000
    assert len(str(page.as_json).encode()) < 1_000_000


@pytest.mark.parametrize("body", [b"<p>One" * 500, b"x" * 20_000], ids=["many tags", "many bytes"])
def test_page_that_is_not_small_is_not_read_in_this_process(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(page_lanes, "read_page", lambda *_: pytest.fail("it is"))

    async def scene() -> Any:
        lanes = PageLanes()
        try:
            return await lanes.read(PageSource("http://shop.test/", ""), body, LaneUser())
        finally:
            await lanes.close()

    assert asyncio.run(scene()).text


@pytest.mark.parametrize("size", [1, 150, 2_000])
def test_page_is_the_same_in_and_outside_of_a_child(size: int) -> None:
    source = PageSource("http://shop.test/", "charset=latin1", with_places=True)
    body = b"<title>Caf\xe9</title><h1>Menu</h1>" + b"<p>One <b>bold</b> <a href=/x>link</a> " * size
    body += b"<form method=post><input name=q value=\xe9><select name=s><option>a<option value=2>b</select></form>"
    body += b"<meta http-equiv=refresh content='0; url=/next'>"

    async def scene() -> Any:
        lanes = PageLanes()
        try:
            return await lanes.read(source, body, LaneUser())
        finally:
            await lanes.close()

    page = asyncio.run(scene())
    assert page == read_page(source, body)
    assert page.refresh == "http://shop.test/next"
