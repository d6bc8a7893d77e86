"""How often, and for whom, those who wait look at the store."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

import pytest

from api.service import waiting
from api.service.waiting import LOOKS_AT_A_TIME, WaitRoom
from shared.domain.errors import ServiceUnavailable
from tests.servers import wait_until

FOREVER_S = 60


class Looks:
    """A store in which nobody is done before `done` says so, and that remembers who was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[UUID]] = []
        self.done: set[UUID] = set()

    def __call__(self, ids: Sequence[UUID]) -> Sequence[UUID]:
        left = [id_ for id_ in ids if id_ not in self.done]
        self.asked.append(list(ids))
        return left

    async def count(self, number: int) -> None:
        """Wait until there were so many looks."""
        await asyncio.to_thread(wait_until, lambda: len(self.asked) >= number)


@pytest.fixture(autouse=True)
def _only_notices_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_INTERVAL_S", FOREVER_S)


def in_a_room(scene: Callable[[WaitRoom, Looks], Awaitable[None]]) -> None:
    async def play() -> None:
        room = WaitRoom("redis://127.0.0.1:1/0")
        try:
            await scene(room, Looks())
        finally:
            await room.close()

    asyncio.run(play())


def wait_for(room: WaitRoom, ids: Sequence[UUID], looks: Looks) -> "asyncio.Task[bool]":
    return asyncio.create_task(room.until_done(ids, looks, FOREVER_S))


async def ring_and_settle(room: WaitRoom, ids: Sequence[UUID]) -> None:
    for id_ in ids:
        room.ring([id_])
        await asyncio.sleep(0.001)


def test_the_first_notice_is_looked_at_at_once_and_a_burst_after_it_costs_no_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "PAUSE_S", FOREVER_S)

    async def scene(room: WaitRoom, looks: Looks) -> None:
        one = uuid4()
        task = wait_for(room, [one], looks)
        await looks.count(1)
        room.ring([one])
        await looks.count(2)
        await ring_and_settle(room, [one] * 100)
        assert len(looks.asked) == 2
        task.cancel()

    in_a_room(scene)


def test_the_end_of_a_burst_is_not_missed() -> None:
    async def scene(room: WaitRoom, looks: Looks) -> None:
        one = uuid4()
        task = wait_for(room, [one], looks)
        await looks.count(1)
        await ring_and_settle(room, [one] * 20)
        looks.done.add(one)
        room.ring([one])
        assert await task

    in_a_room(scene)


@pytest.mark.parametrize(("number", "looked"), [(2, 4), (3, 2)])
def test_who_waits_for_many_looks_less_often(
    monkeypatch: pytest.MonkeyPatch, number: int, looked: int
) -> None:
    monkeypatch.setattr(waiting, "MANY", 2)
    monkeypatch.setattr(waiting, "PAUSE_S", 0)
    monkeypatch.setattr(waiting, "PAUSE_FOR_MANY_S", FOREVER_S)

    async def scene(room: WaitRoom, looks: Looks) -> None:
        ids = [uuid4() for _ in range(number)]
        task = wait_for(room, ids, looks)
        await looks.count(1)
        for notice in range(3):
            room.ring(ids[:1])
            await looks.count(min(notice + 2, looked))
        await asyncio.sleep(0.02)
        assert len(looks.asked) == looked
        task.cancel()

    in_a_room(scene)


def test_who_is_done_is_not_asked_for_again() -> None:
    async def scene(room: WaitRoom, looks: Looks) -> None:
        first, second = uuid4(), uuid4()
        task = wait_for(room, [first, second], looks)
        await looks.count(1)
        for id_ in (first, second):
            looks.done.add(id_)
            room.ring([id_])
            await looks.count(2)
        assert await task
        assert looks.asked[0] == looks.asked[1] == [first, second]
        assert looks.asked[2:] == [[second]]

    in_a_room(scene)


def test_a_look_that_hangs_does_not_lengthen_a_wait_and_few_hang_at_a_time() -> None:
    async def scene(room: WaitRoom, looks: Looks) -> None:
        release, hanging = threading.Event(), []

        def hang(ids: Sequence[UUID]) -> Sequence[UUID]:
            hanging.append(ids)
            release.wait(FOREVER_S)
            return ids

        try:
            answers = await asyncio.gather(*(room.until_done([uuid4()], hang, 0.1) for _ in range(200)))
            assert not any(answers)
            assert len(hanging) <= LOOKS_AT_A_TIME
        finally:
            release.set()

    in_a_room(scene)


def test_a_read_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "READ_TIMEOUT_S", 0.05)

    async def scene(room: WaitRoom, looks: Looks) -> None:
        release = threading.Event()
        try:
            with pytest.raises(ServiceUnavailable):
                await room.read(lambda: release.wait(FOREVER_S))
        finally:
            release.set()

    in_a_room(scene)


def test_while_the_store_is_away_a_wait_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_INTERVAL_S", 0.01)

    async def scene(room: WaitRoom, looks: Looks) -> None:
        answers = iter([ServiceUnavailable("away"), ServiceUnavailable("away"), None])

        def look(ids: Sequence[UUID]) -> Sequence[UUID]:
            if (error := next(answers)) is not None:
                raise error
            return []

        assert await room.until_done([uuid4()], look, FOREVER_S)

    in_a_room(scene)


def test_a_process_told_to_go_ends_its_waits() -> None:
    async def scene(room: WaitRoom, looks: Looks) -> None:
        task = wait_for(room, [uuid4()], looks)
        await looks.count(1)
        room.end_all()
        assert await asyncio.wait_for(task, FOREVER_S / 2) is False
        assert await room.until_done([uuid4()], looks, FOREVER_S) is False

    in_a_room(scene)
