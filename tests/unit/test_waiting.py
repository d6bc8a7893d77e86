"""When, and for which participants, the registry of waiters reads the store."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.service import waiters
from understudy.service.waiters import WaiterRegistry

pytestmark = pytest.mark.anyio
FOREVER_S = 60


class Reads:
    """Reads of a store in which only the ids in `done` are terminal; remembers the ids of each read."""

    def __init__(self) -> None:
        self.asked: list[set[UUID]] = []
        self.done: set[UUID] = set()
        self.unavailable = False
        #: Reads hang while this is not set.
        self.released = threading.Event()
        self.released.set()

    def __call__(self, ids: Sequence[UUID]) -> Any:
        self.asked.append(set(ids))
        self.released.wait(FOREVER_S)
        if self.unavailable:
            raise ServiceUnavailable("away")
        return {id_: f"state of {id_}" for id_ in ids if id_ in self.done}

    async def count(self, number: int) -> None:
        """Wait until there were so many reads."""
        await asyncio.to_thread(wait_until, lambda: len(self.asked) >= number)


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def poll_interval_s() -> float:
    """So long that only notifications lead to reads."""
    return FOREVER_S


@pytest.fixture
async def registry(
    reads: Reads, poll_interval_s: float, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WaiterRegistry]:
    monkeypatch.setattr(waiters, "POLL_INTERVAL_S", poll_interval_s)
    registry = WaiterRegistry("", reads, lambda _: {}, lambda _: {})
    registry.open()
    yield registry
    reads.released.set()
    await registry.close()


async def start_wait(registry: WaiterRegistry, *ids: UUID) -> "asyncio.Task[Any]":
    """A wait that has begun."""
    task = asyncio.create_task(registry.wait_until_terminal(ids, FOREVER_S))
    await asyncio.sleep(0)
    return task


async def test_a_wait_reads_at_once_and_after_each_notification(registry: WaiterRegistry, reads: Reads) -> None:
    one = uuid4()
    task = await start_wait(registry, one)
    await reads.count(1)
    registry.notify([one])
    await reads.count(2)
    reads.done.add(one)
    registry.notify([one])
    assert await task == {one: f"state of {one}"}
    assert reads.asked == [{one}] * 3
    assert (registry.waiters, registry.awaited_count) == (0, 0)


async def test_notifications_during_a_read_lead_to_one_read_after_it(registry: WaiterRegistry, reads: Reads) -> None:
    reads.released.clear()
    first = await start_wait(registry, uuid4())
    await reads.count(1)
    ids = [uuid4() for _ in range(100)]
    tasks = [await start_wait(registry, id_) for id_ in ids]
    for _ in range(5):
        registry.notify(ids)
    reads.done.update(ids)
    reads.released.set()
    assert all(await asyncio.gather(*tasks))
    assert reads.asked[1:] == [set(ids)]
    first.cancel()


async def test_a_terminal_participant_is_not_read_again(registry: WaiterRegistry, reads: Reads) -> None:
    first, second = uuid4(), uuid4()
    task = await start_wait(registry, first, second)
    await reads.count(1)
    reads.done.add(first)
    registry.notify([first])
    await asyncio.to_thread(wait_until, lambda: registry.awaited_count == 1)
    registry.notify([first])
    await asyncio.sleep(0.02)
    assert reads.asked == [{first, second}, {first}]
    assert not task.done()
    reads.done.add(second)
    registry.notify([second])
    assert (await task).keys() == {first, second}


async def test_a_cancelled_wait_leaves_the_other_waits(registry: WaiterRegistry, reads: Reads) -> None:
    one = uuid4()
    staying, leaving = await start_wait(registry, one), await start_wait(registry, one)
    assert (registry.waiters, registry.awaited_count) == (2, 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert (registry.waiters, registry.awaited_count) == (1, 1)
    reads.done.add(one)
    registry.notify([one])
    assert await staying


async def test_a_notification_reads_its_ids_or_without_ids_all(registry: WaiterRegistry, reads: Reads) -> None:
    one, two = uuid4(), uuid4()
    tasks = [await start_wait(registry, id_) for id_ in (one, two)]
    await asyncio.to_thread(wait_until, lambda: {one, two} <= set().union(*reads.asked))
    reads.asked.clear()
    registry.notify([uuid4() for _ in range(50)])
    await asyncio.sleep(0.02)
    assert reads.asked == []
    registry.notify(())
    await reads.count(1)
    assert reads.asked == [{one, two}]
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("poll_interval_s", [0.01])
async def test_polling_reads_all_and_survives_an_outage(registry: WaiterRegistry, reads: Reads) -> None:
    reads.unavailable = True
    one, two = uuid4(), uuid4()
    tasks = [await start_wait(registry, id_) for id_ in (one, two)]
    await asyncio.to_thread(wait_until, lambda: reads.asked.count({one, two}) >= 3)
    assert not any(task.done() for task in tasks)
    reads.unavailable = False
    reads.done.update((one, two))
    assert all(await asyncio.gather(*tasks))


async def test_many_ids_are_read_in_batches(
    registry: WaiterRegistry, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "CHECK_BATCH_SIZE", 10)
    ids = [uuid4() for _ in range(25)]
    reads.done.update(ids)
    assert await (await start_wait(registry, *ids))
    assert [len(asked) for asked in reads.asked] == [10, 10, 5]


async def test_a_hanging_read_neither_delays_waits_nor_multiplies(registry: WaiterRegistry, reads: Reads) -> None:
    reads.released.clear()
    answers = await asyncio.gather(*(registry.wait_until_terminal([uuid4()], 0.1) for _ in range(200)))
    assert not any(answers)
    assert len(reads.asked) == 1


async def test_a_read_is_unavailable_after_its_timeout(
    registry: WaiterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "READ_TIMEOUT_S", 0.05)
    release = threading.Event()
    try:
        with pytest.raises(ServiceUnavailable):
            await registry.read(lambda: release.wait(FOREVER_S))
    finally:
        release.set()


async def test_end_all_waits_answers_with_the_terminal_ones(registry: WaiterRegistry, reads: Reads) -> None:
    one = uuid4()
    reads.done.add(one)
    task = await start_wait(registry, one, uuid4())
    await asyncio.to_thread(wait_until, lambda: registry.awaited_count == 1)
    registry.end_all_waits()
    assert (await asyncio.wait_for(task, FOREVER_S / 2)).keys() == {one}
    assert await registry.wait_until_terminal([uuid4()], FOREVER_S) == {}
