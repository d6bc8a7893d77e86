"""When, and for whom, the store is looked at for those who wait."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.service import waiters
from understudy.service.waiters import WaiterRegistry

FOREVER_S = 60


class Looks:
    """A store in which nobody is done before `done` says so, and that remembers who was asked for."""

    def __init__(self) -> None:
        self.asked: list[set[UUID]] = []
        self.done: set[UUID] = set()
        self.away = False
        #: Looks hang while this is not set.
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, ids: Sequence[UUID]) -> Any:
        self.asked.append(set(ids))
        self.go_on.wait(FOREVER_S)
        if self.away:
            raise ServiceUnavailable("away")
        return {id_: f"state of {id_}" for id_ in ids if id_ in self.done}

    async def count(self, number: int) -> None:
        """Wait until there were so many looks."""
        await asyncio.to_thread(wait_until, lambda: len(self.asked) >= number)


@pytest.fixture(autouse=True)
def _only_notices_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "POLL_INTERVAL_S", FOREVER_S)


def in_a_room(scene: Callable[[WaiterRegistry, Looks], Awaitable[None]]) -> None:
    async def play() -> None:
        looks = Looks()
        room = WaiterRegistry("", looks, lambda _: {}, lambda _: {})
        room.open()
        try:
            await scene(room, looks)
        finally:
            looks.go_on.set()
            await room.close()

    asyncio.run(play())


async def wait_for(room: WaiterRegistry, *ids: UUID) -> "asyncio.Task[Any]":
    """A wait that has begun."""
    task = asyncio.create_task(room.wait_until_terminal(ids, FOREVER_S))
    await asyncio.sleep(0)
    return task


def test_a_wait_looks_at_once_and_when_a_notice_comes() -> None:
    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        one = uuid4()
        task = await wait_for(room, one)
        await looks.count(1)
        room.notify([one])
        await looks.count(2)
        looks.done.add(one)
        room.notify([one])
        assert await task == {one: f"state of {one}"}
        assert looks.asked == [{one}] * 3
        assert (room.waiters, room.awaited_count) == (0, 0)

    in_a_room(scene)


def test_what_comes_during_a_look_is_looked_at_in_one_go_after_it() -> None:
    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        looks.go_on.clear()
        first = await wait_for(room, uuid4())
        await looks.count(1)
        ids = [uuid4() for _ in range(100)]
        tasks = [await wait_for(room, id_) for id_ in ids]
        for _ in range(5):
            room.notify(ids)
        looks.done.update(ids)
        looks.go_on.set()
        assert all(await asyncio.gather(*tasks))
        assert looks.asked[1:] == [set(ids)]
        first.cancel()

    in_a_room(scene)


def test_who_is_done_is_not_asked_for_again_and_a_wait_ends_with_its_last_one() -> None:
    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        first, second = uuid4(), uuid4()
        task = await wait_for(room, first, second)
        await looks.count(1)
        looks.done.add(first)
        room.notify([first])
        await asyncio.to_thread(wait_until, lambda: room.awaited_count == 1)
        room.notify([first])
        await asyncio.sleep(0.02)
        assert looks.asked == [{first, second}, {first}]
        assert not task.done()
        looks.done.add(second)
        room.notify([second])
        assert (await task).keys() == {first, second}

    in_a_room(scene)


def test_two_who_wait_for_the_same_both_hear_of_it_and_one_that_leaves_does_not_end_the_other() -> None:
    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        one = uuid4()
        staying, leaving = await wait_for(room, one), await wait_for(room, one)
        assert (room.waiters, room.awaited_count) == (2, 1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert (room.waiters, room.awaited_count) == (1, 1)
        looks.done.add(one)
        room.notify([one])
        assert await staying

    in_a_room(scene)


def test_notices_about_others_cost_no_look_and_one_about_nobody_is_about_all() -> None:
    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        one, two = uuid4(), uuid4()
        tasks = [await wait_for(room, id_) for id_ in (one, two)]
        await asyncio.to_thread(wait_until, lambda: {one, two} <= set().union(*looks.asked))
        looks.asked.clear()
        room.notify([uuid4() for _ in range(50)])
        await asyncio.sleep(0.02)
        assert looks.asked == []
        room.notify(())
        await looks.count(1)
        assert looks.asked == [{one, two}]
        for task in tasks:
            task.cancel()

    in_a_room(scene)


def test_everybody_is_looked_at_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "POLL_INTERVAL_S", 0.02)

    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        one, two = uuid4(), uuid4()
        tasks = [await wait_for(room, id_) for id_ in (one, two)]
        await looks.count(3)
        assert looks.asked[-1] == {one, two}
        looks.done.update((one, two))
        assert all(await asyncio.gather(*tasks))

    in_a_room(scene)


def test_many_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "CHECK_BATCH_SIZE", 10)

    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        ids = [uuid4() for _ in range(25)]
        looks.done.update(ids)
        assert await (await wait_for(room, *ids))
        assert [len(asked) for asked in looks.asked] == [10, 10, 5]

    in_a_room(scene)


def test_a_look_that_hangs_does_not_lengthen_a_wait_and_one_hangs_at_a_time() -> None:
    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        looks.go_on.clear()
        answers = await asyncio.gather(*(room.wait_until_terminal([uuid4()], 0.1) for _ in range(200)))
        assert not any(answers)
        assert len(looks.asked) == 1

    in_a_room(scene)


def test_a_read_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "READ_TIMEOUT_S", 0.05)

    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        release = threading.Event()
        try:
            with pytest.raises(ServiceUnavailable):
                await room.read(lambda: release.wait(FOREVER_S))
        finally:
            release.set()

    in_a_room(scene)


def test_while_the_store_is_away_a_wait_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "POLL_INTERVAL_S", 0.01)

    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        looks.away = True
        one = uuid4()
        task = await wait_for(room, one)
        await looks.count(3)
        assert not task.done()
        looks.away = False
        looks.done.add(one)
        assert await task

    in_a_room(scene)


def test_a_process_told_to_go_ends_its_waits() -> None:
    async def scene(room: WaiterRegistry, looks: Looks) -> None:
        one = uuid4()
        looks.done.add(one)
        task = await wait_for(room, one, uuid4())
        await asyncio.to_thread(wait_until, lambda: room.awaited_count == 1)
        room.end_all_waits()
        assert (await asyncio.wait_for(task, FOREVER_S / 2)).keys() == {one}
        assert await room.wait_until_terminal([uuid4()], FOREVER_S) == {}

    in_a_room(scene)
