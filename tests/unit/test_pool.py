"""The pool: jobs on an event loop, and their results for Celery."""

import asyncio
import json
import socket
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from celery.concurrency.base import BasePool
from celery.exceptions import Reject
from kombu.asynchronous.hub import Hub

from tests.servers import wait_until
from understudy.domain.queues import Queue
from understudy.queue.celery.pool import Job, UnexpectedError, create_pool

SECRET = "words of a message"


class Bench:
    """A pool between a loop and a hub, each in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.may_end = asyncio.Event()
        self.jobs: list[Job] = []
        self.accepted = 0
        #: Results that Celery got, each with its thread.
        self.results: list[tuple[Any, int]] = []
        self.hub = Hub()
        # It sleeps on a connection that says nothing, and nothing but the pool wakes it.
        self.silence = socket.socketpair()
        self.hub.add_reader(self.silence[0], lambda: None)
        self.may_take = True
        self.pool: BasePool = create_pool(self.work, self.submit, lambda: self.may_take)(50)
        self.pool.start()
        self.pool.register_with_event_loop(self.hub)
        self.hub_thread = threading.Thread(target=self.hub.run_forever, daemon=True)
        self.hub_thread.start()
        self.loop_thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.loop_thread.start()

    async def work(self, job: Job) -> str:
        self.jobs.append(job)
        await self.may_end.wait()
        if job.args[0] == "reject":
            raise Reject(requeue=True)
        if job.args[0] == "break":
            raise ValueError(SECRET)
        return "ended"

    def submit(self, work: Coroutine[Any, Any, object]) -> Future[object]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def apply(self, body: str, queue: str | None = None) -> None:
        headers: dict[str, Any] = {"id": "a-task"}
        if queue is not None:
            headers["delivery_info"] = {"routing_key": queue}
        self.pool.apply_async(
            None,
            args=("simulation.run", "a-task", headers, body, "application/json", "utf-8"),
            callback=lambda result: self.results.append((result, threading.get_ident())),
            accept_callback=self.accept,
        )

    def accept(self, _pid: int, _at: float) -> None:
        self.accepted += 1

    def let_end(self) -> None:
        self.loop.call_soon_threadsafe(self.may_end.set)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.hub.stop()
    bench.hub_thread.join(10)
    bench.hub.close()
    for end in bench.silence:
        end.close()
    bench.loop.call_soon_threadsafe(bench.loop.stop)
    bench.loop_thread.join(10)
    bench.loop.close()


def carrying(*args: str) -> str:
    return json.dumps([args, {}, {}])


def test_jobs_run_concurrently_and_celery_gets_results_in_its_own_thread(bench: Bench) -> None:
    for number in range(50):
        bench.apply(carrying(f"participant {number}"))
    assert bench.accepted == 50
    wait_until(lambda: len(bench.jobs) == 50)
    assert bench.jobs[0] == Job("a-task", {"id": "a-task"}, ["participant 0"])
    assert bench.results == []
    bench.let_end()
    wait_until(lambda: len(bench.results) == 50)
    assert {thread for _, thread in bench.results} == {bench.hub_thread.ident}
    assert {result[:2] for result, _ in bench.results} == {(0, "ended")}


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (carrying("reject"), Reject, "requeue=True"),
        (carrying("break"), UnexpectedError, "ValueError: see the log"),
        ("null", UnexpectedError, "TypeError: see the log"),
        ("{not json", UnexpectedError, "see the log"),
    ],
)
def test_an_exception_of_a_job_is_its_result_without_stack_or_secrets(
    bench: Bench, body: str, error: type[Exception], text: str
) -> None:
    bench.let_end()
    bench.apply(body)
    wait_until(lambda: len(bench.results) == 1)
    ((failed, how, _), _), *_ = bench.results
    assert failed == 1
    assert isinstance(how.exception, error)
    assert text in repr(how.exception)
    assert how.traceback == ""
    assert SECRET not in repr(how.exception)
    bench.apply(carrying("one that is fine"))
    wait_until(lambda: len(bench.results) == 2)


def test_stop_waits_for_running_jobs_and_their_results(bench: Bench) -> None:
    bench.apply(carrying("one"))
    wait_until(lambda: len(bench.jobs) == 1)
    stopping = threading.Thread(target=bench.pool.stop)
    stopping.start()
    stopping.join(0.3)
    assert stopping.is_alive()
    bench.let_end()
    stopping.join(10)
    assert not stopping.is_alive()
    wait_until(lambda: len(bench.results) == 1)


def test_jobs_beyond_the_limit_wait_and_start_by_priority(bench: Bench) -> None:
    """RabbitMQ gives as many of each queue as the worker has room for in all."""
    for number in range(50):
        bench.apply(carrying(f"participant {number}"), Queue.RUNS)
    bench.apply(carrying("new"), Queue.RUNS)
    bench.apply(carrying("newer"), Queue.RUNS)
    bench.apply(carrying("extend"), Queue.RESUME)
    bench.apply(carrying("recovered"), Queue.RECOVERED)
    assert bench.accepted == 50
    bench.let_end()
    wait_until(lambda: len(bench.results) == 54)
    assert [job.args[0] for job in bench.jobs[50:]] == ["recovered", "extend", "new", "newer"]


def test_stop_also_runs_jobs_that_wait(bench: Bench) -> None:
    for _ in range(120):
        bench.apply(carrying("one"))
    bench.let_end()
    bench.pool.stop()
    assert len(bench.jobs) == 120
    wait_until(lambda: len(bench.results) == 120)


def test_free_slots_are_those_without_a_job_while_the_process_may_take_messages(bench: Bench) -> None:
    freed: list[int] = []
    bench.pool.on_free_slot = lambda: freed.append(bench.pool.count_free_slots())
    for _ in range(49):
        bench.apply(carrying("one"))
    assert bench.pool.count_free_slots() == 1
    bench.may_take = False
    assert bench.pool.count_free_slots() == 0
    bench.may_take = True
    bench.apply(carrying("one"))
    bench.apply(carrying("one beyond the limit"))
    assert bench.pool.count_free_slots() == 0
    bench.let_end()
    wait_until(lambda: freed and freed[-1] == 50)
