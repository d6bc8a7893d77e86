"""Publishes run messages, aborts and stop tasks. All may be lost: the sweeper recovers from the rows."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime
from functools import partial
from threading import Timer
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from amqp import AMQPError
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from understudy import faults
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.holds import STANDARD_LIMITS, DefaultLimits
from understudy.domain.queues import Queue, stop_task_id
from understudy.queue.celery.broadcasts import broadcast
from understudy.queue.celery.sent_events import Sent, publish_sent_events
from understudy.queue.names import ABORT_COMMAND, RUN_TASK, STOP_TASK
from understudy.store import dispatch, window
from understudy.store.dispatch import RunMessage
from understudy.store.engine import Store, chunks
from understudy.telemetry import logs, metrics, traces, window_metrics

log = logging.getLogger(__name__)

#: Errors of an unavailable broker, raised by kombu or by its clients.
BROKER_ERRORS = (OperationalError, KombuError, RedisError, AMQPError, OSError)

#: Messages of one call that are sent before the messages of another call get a turn.
PUBLISH_BATCH_SIZE = 200
#: Seconds until the response of a call should be sent, and the seconds that each participant adds. Messages
#: wait for it; an id adds about a tenth of its publishing time.
RESPONSE_DELAY_S, RESPONSE_DELAY_PER_ID_S = 0.05, 3e-5
#: Maximum participants in one abort broadcast.
ABORT_BATCH = 1_000

#: Sends one batch; returns whether to continue with the next.
_Send: TypeAlias = Callable[[Sequence[UUID]], bool]


class PublishResult(NamedTuple):
    """Counts the messages of one publish call."""

    sent: int
    #: The broker refused them; they remain unpublished.
    unpublished: int


class RefillResult(NamedTuple):
    """Counts the messages of a refill of the window."""

    sent: int
    #: Another refill may send more now.
    has_more: bool
    #: Participants wait for room in the window, or for slots.
    has_backlog: bool


class Publisher:
    """Publishes for one process. Thread-safe; `enqueue_…` methods return immediately and never raise.

    The sweeper publishes messages that are unsent when the process ends.
    """

    def __init__(self, celery: Celery, store: Store, limits: DefaultLimits = STANDARD_LIMITS) -> None:
        self._celery = celery
        self._store = store
        #: Limits of workspaces that have none of their own.
        self._limits = limits
        #: Whether a refill waits in the queue of messages: it covers all that is committed before it begins.
        self._refill_is_queued = False
        # Aborts have their own thread so that they do not wait behind thousands of run messages.
        self._aborts = ThreadPoolExecutor(1, "aborts")
        self._messages = ThreadPoolExecutor(1, "messages")

    def close(self) -> None:
        """Finishes the batch in flight and drops the rest."""
        self._aborts.shutdown(wait=True, cancel_futures=True)
        self._messages.shutdown(wait=True, cancel_futures=True)

    def refill(self, limit: int) -> RefillResult:
        """Publishes up to `limit` run messages by fair shares (`understudy.store.window`).

        Two callers never send the same message. Messages that the broker refuses remain unpublished. Raises
        ServiceUnavailable if the store is unavailable.
        """
        with window_metrics.refill_seconds.time(), faults.fault_site("run_message.reserve"):
            refill = self._store.write(lambda connection: window.refill(connection, limit, self._limits))
        window_metrics.preempted.inc(refill.preempted)
        sent, unpublished = self._send_reserved(refill.messages)
        return RefillResult(sent, refill.has_more and not unpublished, refill.has_backlog)

    def republish(self, ids: Sequence[UUID], before: datetime) -> int:
        """Sends the messages of `ids` again that were sent before that moment; returns how many. Raises as `refill`."""
        with faults.fault_site("run_message.reserve"):
            messages = self._store.write(lambda connection: dispatch.reserve_again(connection, ids, before))
        return self._send_reserved(messages).sent

    def _send_reserved(self, messages: Sequence[RunMessage]) -> PublishResult:
        unsent = self._send_runs(messages) if messages else ()
        if unsent:
            with faults.fault_site("run_message.unreserve"):
                self._store.write(lambda connection: dispatch.unreserve_messages(connection, unsent))
        return PublishResult(len(messages) - len(unsent), len(unsent))

    def _send_runs(self, messages: Sequence[RunMessage]) -> Sequence[RunMessage]:
        """Sends `messages` in order; returns those that the broker did not confirm."""
        unsent = messages
        try:
            with self._celery.producer_pool.acquire(block=True) as producer:
                for batch in chunks(messages, PUBLISH_BATCH_SIZE):
                    sent_at = time.time()
                    with self._batched(producer, "run_message"):
                        for message in batch:
                            self._send(RUN_TASK, message, message.task_id, message.queue, producer)
                    unsent = unsent[len(batch) :]
                    self._tell_tools(producer, [_sent(RUN_TASK, one, one.task_id, one.queue) for one in batch], sent_at)
        except BROKER_ERRORS as error:
            log.warning("cannot publish run messages (%s); they remain unpublished", error)
        return unsent

    def enqueue_refill(self, created: int = 1) -> None:
        """Publishes in the background what may be published now; all but a first batch after the response.

        Building thousands of messages holds the interpreter, which the threads of the response need.
        """
        if not self._refill_is_queued:
            self._refill_is_queued = True
            self._submit(self._messages, partial(self._refill_batch, created))

    def _refill_batch(self, created: int) -> None:
        # Before the read: what is committed after it needs another refill.
        self._refill_is_queued = False
        try:
            has_more = self.refill(PUBLISH_BATCH_SIZE).has_more
        except ServiceUnavailable:
            log.warning("run messages remain unpublished: store unavailable")
            return
        if has_more and created > PUBLISH_BATCH_SIZE:
            self._begin_after_response(created, partial(self._submit, self._messages, partial(self._refill_batch, 1)))
        elif has_more:
            self._submit(self._messages, partial(self._refill_batch, 1))

    def enqueue_aborts(self, ids: Sequence[UUID]) -> None:
        """Requests all workers to abort the steps in flight of `ids`."""
        self._submit_batches(self._aborts, self._publish_abort_batch, chunks(ids, ABORT_BATCH))

    def enqueue_stop_tasks(self, ids: Sequence[UUID]) -> None:
        """Publishes one stop task for each of `ids`, which were just cancelled.

        More than PUBLISH_BATCH_SIZE are sent after the response, because abort broadcasts end the steps.
        """
        if len(ids) > PUBLISH_BATCH_SIZE:
            self._send_after_response(self._publish_stop_batch, ids)
        else:
            self._submit_batches(self._messages, self._publish_stop_batch, chunks(ids, PUBLISH_BATCH_SIZE))

    def queue_depth(self, queue: Queue) -> int:
        """Returns the number of messages in `queue`. Raises one of BROKER_ERRORS."""
        with metrics.time_broker_call("look"), self._celery.connection_or_acquire() as connection:
            # With all arguments: RabbitMQ rejects a declaration that differs from the queue.
            declared = self._celery.amqp.queues[str(queue)](connection.default_channel)
            return int(declared.queue_declare().message_count)

    def ping(self) -> None:
        """Checks that the broker answers. Raises one of BROKER_ERRORS."""
        self.queue_depth(Queue.RUNS)

    def _send_after_response(self, send: _Send, ids: Sequence[UUID]) -> None:
        """Sends to `ids` after the delay in which the caller's response should be sent.

        Building thousands of messages holds the interpreter, which the threads of the response need.
        """
        batches = chunks(ids, PUBLISH_BATCH_SIZE)
        self._begin_after_response(len(ids), partial(self._submit_batches, self._messages, send, batches))

    def _begin_after_response(self, count: int, begin: Callable[[], None]) -> None:
        timer = Timer(RESPONSE_DELAY_S + count * RESPONSE_DELAY_PER_ID_S, copy_context().run, [begin])
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            # No thread is available: the response has to wait.
            begin()

    def _submit_batches(self, executor: ThreadPoolExecutor, send: _Send, batches: Iterator[Sequence[UUID]]) -> None:
        """Sends one batch, then queues the next one behind the batches of other calls."""

        def send_next() -> None:
            batch = next(batches, None)
            if batch is not None and send(batch):
                self._submit(executor, send_next)

        self._submit(executor, send_next)

    def _submit(self, executor: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        try:
            # Log lines carry the request id of the caller's context.
            executor.submit(copy_context().run, work).add_done_callback(_log_failure)
        except RuntimeError:
            log.info("messages not sent because the process is ending; the sweeper will retry")

    def _publish_abort_batch(self, ids: Sequence[UUID]) -> bool:
        try:
            names = [str(id_) for id_ in ids]
            with metrics.time_broker_call("abort"), faults.fault_site("abort.send"):
                broadcast(self._celery, ABORT_COMMAND, {"participant_ids": names})
        except BROKER_ERRORS as error:
            log.warning("cannot publish aborts (%s); heartbeats will abort the steps", error)
            return False
        return True

    def _publish_stop_batch(self, ids: Sequence[UUID]) -> bool:
        try:
            with self._store.read() as connection:
                messages = dispatch.load_messages(connection, ids)
            with self._celery.producer_pool.acquire(block=True) as producer:
                sent_at = time.time()
                with self._batched(producer, "stop_task"):
                    for message in messages:
                        id_ = stop_task_id(message.task_id)
                        self._send(STOP_TASK, message, id_, Queue.CONTROL, producer, message.task_id)
                tasks = [_sent(STOP_TASK, one, stop_task_id(one.task_id), Queue.CONTROL) for one in messages]
                self._tell_tools(producer, tasks, sent_at)
        except ServiceUnavailable:
            log.warning("cannot publish stop tasks: store unavailable; the sweeper will retry")
            return False
        except BROKER_ERRORS as error:
            log.warning("cannot publish stop tasks (%s); the sweeper will retry", error)
            return False
        return True

    def _tell_tools(self, producer: Any, messages: Sequence[Sent], sent_at: float) -> None:
        try:
            publish_sent_events(self._celery, producer, messages, sent_at)
        except BROKER_ERRORS as error:
            # The messages themselves are sent.
            log.info("cannot tell Celery's tools of sent messages: %s", error)

    @contextmanager
    def _batched(self, producer: Any, work: Literal["run_message", "stop_task"]) -> Iterator[None]:
        """Sends up to PUBLISH_BATCH_SIZE messages of the block together when the block ends."""
        with (
            metrics.time_broker_call(work),
            faults.fault_site(f"{work}.send"),
            producer.batch(max_size=PUBLISH_BATCH_SIZE),
        ):
            yield

    def _send(self, task: str, message: RunMessage, id_: str, queue: str, producer: Any, *extra: str) -> None:
        self._celery.send_task(
            task,
            args=[str(message.participant_id), *extra],
            task_id=id_,
            queue=str(queue),
            # Flower shows and searches this text: no secrets.
            argsrepr=message.description,
            kwargsrepr="",
            ignore_result=True,
            headers=logs.propagated_headers() | traces.inject_trace_headers(),
            retry=False,
            producer=producer,
        )


def _sent(task: str, message: RunMessage, id_: str, queue: str) -> Sent:
    return Sent(task, id_, message.description, str(queue))


def _log_failure(done: Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()):
        log.error("publishing failed", exc_info=error)
