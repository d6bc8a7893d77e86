"""Reads that concurrent requests share."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import wait_until
from understudy.domain.errors import AuthFailed, ServiceUnavailable
from understudy.service.coalesced_reads import READS_AT_A_TIME, CoalescedReads

pytestmark = pytest.mark.anyio
MAX_SIZE = 1_500


class Reads:
    """Reads of a store that hang until they are released; a read finds what is in `rows` when it begins."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.unavailable = False
        self.asked: list[list[str]] = []
        self.released = threading.Event()

    def __call__(self, keys: Sequence[str]) -> dict[str, str | Exception]:
        found = {key: self.rows.get(key) or AuthFailed(f"{key} is unknown") for key in keys}
        self.asked.append(list(keys))
        assert self.released.wait(20)
        if self.unavailable:
            raise ServiceUnavailable("away")
        return found

    async def count(self, number: int) -> None:
        """Wait until so many have begun."""
        await asyncio.to_thread(wait_until, lambda: len(self.asked) >= number)


Shared = CoalescedReads[str, str]


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def timeout_s() -> float:
    return 20


@pytest.fixture
async def shared(reads: Reads, timeout_s: float) -> AsyncIterator[Shared]:
    """Coalesced reads, of which as many hang as run at a time."""

    def size_of(key: str) -> int:
        return 1_000 if key == "large" else 1

    with ThreadPoolExecutor(8) as threads:
        shared = Shared(reads, threads, most=MAX_SIZE, timeout_s=timeout_s, size_of=size_of)
        first = []
        for number in range(READS_AT_A_TIME):
            first.append(asyncio.create_task(shared.find(f"first {number}")))
            await reads.count(number + 1)
        yield shared
        reads.released.set()
        await asyncio.gather(*first, return_exceptions=True)


async def ask(shared: Shared, *keys: str) -> "list[asyncio.Task[str]]":
    """Ask for each key; the next reads include them."""
    asked = [asyncio.create_task(shared.find(key)) for key in keys]
    await asyncio.sleep(0)
    return asked


async def test_requests_for_the_same_key_share_one_read(shared: Shared, reads: Reads) -> None:
    reads.rows = {"t": "here"}
    asked = await ask(shared, *["t"] * 2_000)
    reads.released.set()
    assert set(await asyncio.gather(*asked)) == {"here"}
    assert reads.asked[READS_AT_A_TIME:] == [["t"]]


async def test_different_keys_share_a_read_up_to_its_size(shared: Shared, reads: Reads) -> None:
    keys = [*(f"k{number}" for number in range(MAX_SIZE)), "large"]
    reads.rows = {key: f"of {key}" for key in keys}
    asked = await ask(shared, *keys)
    reads.released.set()
    assert await asyncio.gather(*asked) == [f"of {key}" for key in keys]
    assert sorted(map(len, reads.asked[READS_AT_A_TIME:])) == [1, MAX_SIZE]


async def test_an_answer_is_never_older_than_its_request(shared: Shared, reads: Reads) -> None:
    (late,) = await ask(shared, "first 0")
    reads.rows = {"first 0": "made since"}
    reads.released.set()
    assert await late == "made since"
    reads.rows = {"first 0": "changed"}
    assert await shared.find("first 0") == "changed"
    reads.rows = {}
    with pytest.raises(AuthFailed):
        await shared.find("first 0")


async def test_a_cancelled_request_leaves_the_read_to_the_others(shared: Shared, reads: Reads) -> None:
    reads.rows = {"t": "here"}
    leaving, staying = await ask(shared, "t", "t")
    leaving.cancel()
    await asyncio.sleep(0)
    reads.released.set()
    assert await staying == "here"
    assert leaving.cancelled()


async def test_an_error_of_one_key_is_raised_for_its_requests_only(shared: Shared, reads: Reads) -> None:
    reads.rows = {"t": "here"}
    right, wrong = await ask(shared, "t", "u")
    reads.released.set()
    assert await right == "here"
    with pytest.raises(AuthFailed, match="u is unknown"):
        await wrong


async def test_a_failed_read_fails_all_its_requests_and_the_next_read_is_made(shared: Shared, reads: Reads) -> None:
    reads.rows = {"t": "here"}
    reads.unavailable = True
    asked = await ask(shared, "t", "u")
    reads.released.set()
    failures = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(failure) for failure in failures] == [ServiceUnavailable] * 2
    reads.unavailable = False
    assert await shared.find("t") == "here"


@pytest.mark.parametrize("timeout_s", [0.05])
async def test_a_slow_read_is_given_up_after_its_timeout(shared: Shared) -> None:
    failures = await asyncio.gather(*await ask(shared, "t", "u"), return_exceptions=True)
    assert [type(failure) for failure in failures] == [TimeoutError] * 2


@pytest.mark.parametrize("timeout_s", [0.3])
async def test_an_answer_in_time_counts_however_late_the_loop_is(shared: Shared, reads: Reads) -> None:
    reads.rows = {"t": "here"}
    (asked,) = await ask(shared, "t")
    reads.released.set()
    await reads.count(READS_AT_A_TIME + 1)
    time.sleep(0.5)  # noqa: ASYNC251 - as if thousands of requests had come at once
    assert await asked == "here"
