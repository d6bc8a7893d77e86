"""Reads that all who ask at a time share."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import wait_until
from understudy.domain.errors import AuthFailed, ServiceUnavailable
from understudy.service.coalesced_reads import READS_AT_A_TIME, CoalescedReads

MOST = 1_500


class Reads:
    """Reads of a store that can be held up; what is in `there` when one begins is what it finds."""

    def __init__(self) -> None:
        self.there: dict[str, str] = {}
        self.away = False
        self.asked: list[list[str]] = []
        self.go_on = threading.Event()

    def __call__(self, keys: Sequence[str]) -> dict[str, str | Exception]:
        found = {key: self.there.get(key) or AuthFailed(f"{key} is unknown") for key in keys}
        self.asked.append(list(keys))
        assert self.go_on.wait(20)
        if self.away:
            raise ServiceUnavailable("away")
        return found

    async def count(self, number: int) -> None:
        """Wait until so many have begun."""
        await asyncio.to_thread(wait_until, lambda: len(self.asked) >= number)


Shared = CoalescedReads[str, str]


def play(scene: Callable[[Shared, Reads], Awaitable[None]], timeout_s: float = 20) -> Reads:
    """A scene in which as many reads hang as there are at a time."""
    reads = Reads()

    async def all_of_it() -> None:
        with ThreadPoolExecutor(8) as threads:
            shared = Shared(
                reads,
                threads,
                most=MOST,
                timeout_s=timeout_s,
                size_of=lambda key: 1_000 if key == "large" else 1,
            )
            first = []
            for number in range(READS_AT_A_TIME):
                first.append(asyncio.create_task(shared.find(f"first {number}")))
                await reads.count(number + 1)
            try:
                await scene(shared, reads)
            finally:
                reads.go_on.set()
            await asyncio.gather(*first, return_exceptions=True)

    asyncio.run(all_of_it())
    return reads


async def ask(shared: Shared, *keys: str) -> "list[asyncio.Task[str]]":
    """Ask for each of these; the reads to come know of them."""
    asked = [asyncio.create_task(shared.find(key)) for key in keys]
    await asyncio.sleep(0)
    return asked


def test_thousands_who_ask_for_the_same_are_one_read() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        reads.there = {"t": "here"}
        asked = await ask(shared, *["t"] * 2_000)
        reads.go_on.set()
        assert set(await asyncio.gather(*asked)) == {"here"}

    assert play(scene).asked[READS_AT_A_TIME:] == [["t"]]


def test_different_questions_are_one_read_up_to_its_size() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        keys = [f"k{number}" for number in range(MOST)]
        reads.there = {key: f"of {key}" for key in [*keys, "large"]}
        asked = await ask(shared, *keys, "large")
        reads.go_on.set()
        assert await asyncio.gather(*asked) == [f"of {key}" for key in [*keys, "large"]]

    assert sorted(len(keys) for keys in play(scene).asked[READS_AT_A_TIME:]) == [1, MOST]


def test_one_question_may_be_larger_than_a_read() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        reads.there = {"large": "there"}
        asked = await ask(shared, *[f"k{number}" for number in range(MOST)], "large")
        reads.go_on.set()
        assert await asked[-1] == "there"
        await asyncio.gather(*asked, return_exceptions=True)

    play(scene)


def test_no_answer_is_of_a_read_that_began_before_the_question() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        (late,) = await ask(shared, "first 0")
        reads.there = {"first 0": "made since"}
        reads.go_on.set()
        assert await late == "made since"
        # Nothing is kept either: neither what was found nor what was not.
        reads.there = {"first 0": "changed"}
        assert await shared.find("first 0") == "changed"
        reads.there = {}
        with pytest.raises(AuthFailed):
            await shared.find("first 0")

    play(scene)


def test_who_gives_up_leaves_the_read_to_those_who_share_it() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        reads.there = {"t": "here"}
        gives_up, stays = await ask(shared, "t", "t")
        gives_up.cancel()
        await asyncio.sleep(0)
        reads.go_on.set()
        assert await stays == "here"
        assert gives_up.cancelled()

    play(scene)


def test_what_is_wrong_with_one_question_is_told_to_those_who_asked_it() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        reads.there = {"t": "here"}
        right, wrong = await ask(shared, "t", "u")
        reads.go_on.set()
        assert await right == "here"
        with pytest.raises(AuthFailed, match="u is unknown"):
            await wrong

    play(scene)


def test_a_read_that_fails_is_told_to_all_and_the_next_one_is_made() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        reads.there = {"t": "here"}
        reads.away = True
        asked = await ask(shared, "t", "u")
        reads.go_on.set()
        for one in asked:
            with pytest.raises(ServiceUnavailable):
                await one
        reads.away = False
        assert await shared.find("t") == "here"

    play(scene)


def test_a_read_that_takes_too_long_is_given_up() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        for one in await ask(shared, "t", "u"):
            with pytest.raises(TimeoutError):
                await one

    play(scene, timeout_s=0.05)


def test_what_was_there_in_time_counts_however_late_the_loop_is() -> None:
    async def scene(shared: Shared, reads: Reads) -> None:
        reads.there = {"t": "here"}
        (asked,) = await ask(shared, "t")
        reads.go_on.set()
        await reads.count(READS_AT_A_TIME + 1)
        time.sleep(0.5)  # noqa: ASYNC251 - as if thousands had come at once
        assert await asked == "here"

    play(scene, timeout_s=0.3)
