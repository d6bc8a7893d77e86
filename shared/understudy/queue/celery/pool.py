"""The pool: Celery hands over a message, a loop works on it, and no thread waits for that."""

import heapq
import itertools
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
from celery.exceptions import Reject
from kombu.asynchronous.hub import Hub
from kombu.exceptions import OperationalError
from kombu.serialization import loads

from understudy.domain.queues import QUEUE_PRIORITY

log = logging.getLogger(__name__)

_QUEUE_RANK = {str(queue): rank for rank, queue in enumerate(QUEUE_PRIORITY)}


class Job(NamedTuple):
    """What a message asks for."""

    task_id: str
    headers: Mapping[str, Any]
    args: Sequence[Any]


#: Works on a job, on the loop. What it returns is shown by Flower; what it raises is what becomes of the
#: message: `Reject(requeue=True)` gives it back, `Terminated` is shown as revoked, anything else as failed.
JobHandler: TypeAlias = Callable[[Job], Coroutine[Any, Any, object]]


class _Waiting(NamedTuple):
    #: Of two, the one with the lower rank is first, then the one that came first.
    rank: int
    number: int
    args: Sequence[Any]
    callback: Callable[..., None]
    accept_callback: Callable[[int, float], None]


class _FinishedJob(NamedTuple):
    tell: Callable[[tuple[int, Any, float]], None]
    done: Future[object]
    runtime_s: float


def create_pool(
    work: JobHandler,
    submit: Callable[[Coroutine[Any, Any, object]], Future[object]],
) -> type[BasePool]:
    """A pool class whose jobs are submitted to a loop.

    Valkey is asked for as many as the worker has room for. RabbitMQ gives as many of each queue: what is
    too much waits here, and the most urgent of it goes first. What becomes of a job is told to Celery in
    Celery's own thread, like everything else about its connection.
    """

    class LoopPool(BasePool):  # type: ignore[misc]
        """Jobs on a loop."""

        # Stopping it waits for jobs.
        signal_safe = False
        body_can_be_buffer = True

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._hub: Hub | None = None
            self._over: deque[_FinishedJob] = deque()
            self._under_way = 0
            #: What waits, and how many came; these belong to Celery's thread.
            self._waiting: list[_Waiting] = []
            self._came = itertools.count()
            self._changed = threading.Condition()

        def register_with_event_loop(self, loop: Hub) -> None:
            self._hub = loop

        def on_apply(
            self,
            target: Any,  # noqa: ARG002 - Celery's way of calling a task in a thread
            args: Sequence[Any],
            kwargs: Any = None,  # noqa: ARG002
            *,
            callback: Callable[..., None],
            accept_callback: Callable[[int, float], None],
            **_: Any,
        ) -> None:
            queue = (args[2].get("delivery_info") or {}).get("routing_key")
            rank = _QUEUE_RANK.get(str(queue), 0)
            job = _Waiting(rank, next(self._came), args, callback, accept_callback)
            heapq.heappush(self._waiting, job)
            self._start_some()

        def _start_some(self) -> None:
            while self._waiting and self._under_way < self.limit:
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
                self._under_way += 1
            submit(_run_job(work, *args)).add_done_callback(
                lambda done: self._end(_FinishedJob(callback, done, time.monotonic() - began))
            )
            # Jobs have no process of their own to name.
            accept_callback(os.getpid(), began)

        def _end(self, over: _FinishedJob) -> None:
            self._over.append(over)
            with self._changed:
                self._under_way -= 1
                self._changed.notify()
            if self._hub is not None:
                # Wakes it, too: there is room for another message.
                self._hub.call_soon(self._tell)

        def _tell(self) -> None:
            while self._over:
                tell, done, runtime_s = self._over.popleft()
                try:
                    tell(_celery_result(done, runtime_s))
                except OperationalError as error:
                    log.info("the broker was not told of the end of a job: %s", error)
            self._start_some()

        def on_stop(self) -> None:
            while self._under_way or self._waiting:
                self._tell()
                with self._changed:
                    self._changed.wait_for(lambda: self._over or not self._under_way)
            self._tell()

    return LoopPool


async def _run_job(
    work: JobHandler, _: str, task_id: str, headers: Mapping[str, Any], body: Any, *kind: str
) -> object:
    # Here, where a body that nobody can read fails its own job and nothing else.
    args, *_rest = loads(body, *kind)
    return await work(Job(task_id, headers, args))


def _celery_result(done: Future[object], runtime_s: float) -> tuple[int, Any, float]:
    """What Celery is told of a job that is over: whether it failed, and how."""
    try:
        return 0, done.result(), runtime_s
    except Reject:
        return 1, ExceptionInfo(internal=True), runtime_s
    except Exception:  # noqa: BLE001 - whatever it is, Celery is told
        return 1, ExceptionInfo(), runtime_s
