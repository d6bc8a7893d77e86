"""A Celery pool that runs each message as a coroutine on an event loop, without a thread per message."""

import heapq
import itertools
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore, Reject, Retry, Terminated
from kombu.asynchronous.hub import Hub
from kombu.exceptions import OperationalError

from understudy.domain.queues import QUEUE_PRIORITY

log = logging.getLogger(__name__)

_QUEUE_RANK = {str(queue): rank for rank, queue in enumerate(QUEUE_PRIORITY)}


class Job(NamedTuple):
    """One message's id, headers and arguments."""

    task_id: str
    headers: Mapping[str, Any]
    args: Sequence[Any]


class TaskFailure(Exception):
    """A failure whose name and text tools show. Of others they show only the name: a text may have secrets."""


class UnexpectedError(TaskFailure):
    """The job raised an error that is none of its own; the worker's log has it."""


#: Runs a job on the loop. Flower shows the result. An exception decides the message: `Reject(requeue=True)`
#: requeues it. Flower shows `Terminated` as revoked, `Retry` as retried, and any other as failed; of `Ignore` nothing.
JobHandler: TypeAlias = Callable[[Job], Coroutine[Any, Any, object]]


class _Waiting(NamedTuple):
    #: The lowest rank starts first; within a rank, the lowest number.
    rank: int
    number: int
    args: Sequence[Any]
    callback: Callable[..., None]
    accept_callback: Callable[[int, float], None]


class _FinishedJob(NamedTuple):
    report: Callable[[tuple[int, Any, float]], None]
    done: Future[object]
    runtime_s: float


def create_pool(
    work: JobHandler,
    submit: Callable[[Coroutine[Any, Any, object]], Future[object]],
    may_take: Callable[[], bool] = lambda: True,
) -> type[BasePool]:
    """Returns a pool class that submits its jobs to a loop.

    A worker takes a message only for a free slot; on RabbitMQ also only while `may_take` returns True. After a
    reconnect to Valkey it may take one more, which waits here, ordered by queue priority. Results are reported
    to Celery in Celery's own thread, because only that thread may use its connection.
    """

    class LoopPool(BasePool):  # type: ignore[misc]
        """Runs jobs on a loop."""

        # Stopping the pool waits for jobs.
        signal_safe = False
        body_can_be_buffer = True

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            #: Called in Celery's thread after jobs have ended.
            self.on_free_slot: Callable[[], None] = lambda: None
            self._hub: Hub | None = None
            self._finished: deque[_FinishedJob] = deque()
            self._active = 0
            #: Jobs without a slot, and the number of the next job. Only Celery's thread uses them.
            self._waiting: list[_Waiting] = []
            self._numbers = itertools.count()
            self._changed = threading.Condition()

        def register_with_event_loop(self, loop: Hub) -> None:
            self._hub = loop

        def _get_info(self) -> dict[str, Any]:
            # Exporters count the processes of a queue by it.
            return dict(super()._get_info()) | {"processes": [os.getpid()], "running": self._active}

        def count_free_slots(self) -> int:
            """Returns how many messages the worker may take now."""
            return max(self.limit - self._active - len(self._waiting), 0) if may_take() else 0

        def on_apply(
            self,
            target: Any,  # noqa: ARG002 - Celery calls tasks in threads by it
            args: Sequence[Any],
            kwargs: Any = None,  # noqa: ARG002
            *,
            callback: Callable[..., None],
            accept_callback: Callable[[int, float], None],
            **_: Any,
        ) -> None:
            queue = (args[2].get("delivery_info") or {}).get("routing_key")
            rank = _QUEUE_RANK.get(str(queue), 0)
            job = _Waiting(rank, next(self._numbers), args, callback, accept_callback)
            heapq.heappush(self._waiting, job)
            self._fill_slots()

        def _fill_slots(self) -> None:
            while self._waiting and self._active < self.limit:
                _, _, args, callback, accept_callback = heapq.heappop(self._waiting)
                self._start(args, callback, accept_callback)

        def _start(
            self,
            args: Sequence[Any],
            callback: Callable[..., None],
            accept_callback: Callable[[int, float], None],
        ) -> None:
            began = time.monotonic()
            with self._changed:
                self._active += 1
            submit(_run_job(work, *args)).add_done_callback(
                lambda done: self._end(_FinishedJob(callback, done, time.monotonic() - began))
            )
            # Celery expects a process id; jobs share this process.
            accept_callback(os.getpid(), began)

        def _end(self, job: _FinishedJob) -> None:
            self._finished.append(job)
            with self._changed:
                self._active -= 1
                self._changed.notify()
            if self._hub is not None:
                # Also wakes the hub, which then takes another message.
                self._hub.call_soon(self._free_slots)

        def _free_slots(self) -> None:
            # The first of several calls reports all.
            if self._finished:
                self._report_finished()
                self.on_free_slot()

        def _report_finished(self) -> None:
            while self._finished:
                report, done, runtime_s = self._finished.popleft()
                try:
                    report(_celery_result(done, runtime_s))
                except OperationalError as error:
                    log.info("cannot report the end of a job to the broker: %s", error)
            self._fill_slots()

        def on_stop(self) -> None:
            while self._active or self._waiting:
                self._report_finished()
                with self._changed:
                    self._changed.wait_for(lambda: self._finished or not self._active)
            self._report_finished()

    return LoopPool


async def _run_job(work: JobHandler, _: str, task_id: str, headers: Mapping[str, Any], body: str, *__: str) -> object:
    # JSON in UTF-8: a message of another kind is foreign, and dropped before.
    args, *_rest = json.loads(body)
    return await work(Job(task_id, headers, args))


def _celery_result(done: Future[object], runtime_s: float) -> tuple[int, Any, float]:
    """Returns (failed, result or error, seconds) of a finished job, as Celery expects them."""
    try:
        return 0, done.result(), runtime_s
    except (Reject, Ignore, Retry, Terminated, TaskFailure) as error:
        return 1, _without_stack(error), runtime_s
    except Exception as error:
        log.exception("a job failed")
        return 1, _without_stack(UnexpectedError(f"{type(error).__name__}: see the log of the worker")), runtime_s


def _without_stack(error: Exception) -> ExceptionInfo:
    """Returns `error` for Celery's events, without a stack, which would show our code to operators."""
    info = ExceptionInfo()
    info.type, info.exception, info.tb, info.traceback = type(error), error, None, ""
    return info
