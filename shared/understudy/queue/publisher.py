"""Telling workers: run messages, aborts, stop tasks. All may be lost: rows and sweeper make it good."""

import logging
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
from understudy.domain.queues import Queue
from understudy.queue.celery.broadcasts import broadcast
from understudy.queue.names import ABORT_COMMAND, RUN_TASK, STOP_TASK
from understudy.store import dispatch
from understudy.store.dispatch import RunMessage
from understudy.store.engine import Store, chunks
from understudy.telemetry import logs, metrics, traces

log = logging.getLogger(__name__)

#: What a broker that is away raises, through kombu or past it.
BROKER_ERRORS = (OperationalError, KombuError, RedisError, AMQPError, OSError)

#: Messages that one caller's work may send before another's gets its turn.
PUBLISH_BATCH_SIZE = 200
#: Seconds until an answer that messages wait for should be out, and what each participant adds to it, a tenth
#: of what sending takes.
RESPONSE_DELAY_S, RESPONSE_DELAY_PER_ID_S = 0.05, 3e-5
#: Participants named by one abort broadcast.
ABORT_BATCH = 1_000


#: Sends to some, and tells whether to go on.
_Send: TypeAlias = Callable[[Sequence[UUID]], bool]


class PublishResult(NamedTuple):
    """What became of messages that were owed."""

    sent: int
    #: The broker did not take them; they are owed again.
    unpublished: int


class Publisher:
    """Publishes for one process. Thread-safe; `…_soon` methods return at once and never raise.

    What was not sent when the process ends is sent by the sweeper.
    """

    def __init__(self, celery: Celery, store: Store) -> None:
        self._celery = celery
        self._store = store
        # Aborts have a thread of their own: they must not wait behind ten thousand run messages.
        self._aborts = ThreadPoolExecutor(1, "aborts")
        self._messages = ThreadPoolExecutor(1, "messages")

    def close(self) -> None:
        """Send nothing more than what is being sent now."""
        self._aborts.shutdown(wait=True, cancel_futures=True)
        self._messages.shutdown(wait=True, cancel_futures=True)

    def publish_run_messages(
        self, ids: Sequence[UUID], *, republish_before: datetime | None = None
    ) -> "PublishResult":
        """Publish the run messages that are owed to `ids`.

        With `republish_before`, also those sent before that moment. Two callers never send the same one.
        Raises ServiceUnavailable if the store is unavailable. Messages that the broker refuses stay
        unpublished.
        """
        with faults.fault_site("run_message.own"):
            messages = self._store.write(
                lambda connection: dispatch.reserve_messages(
                    connection, ids, republish_before=republish_before
                )
            )
        unsent = self._send_runs(messages)
        if unsent:
            with faults.fault_site("run_message.disown"):
                self._store.write(lambda connection: dispatch.unreserve_messages(connection, unsent))
        return PublishResult(len(messages) - len(unsent), len(unsent))

    def _send_runs(self, messages: Sequence[RunMessage]) -> Sequence[RunMessage]:
        """Send them in order; those that the broker did not take, as far as anybody knows."""
        unsent = messages
        try:
            with self._celery.producer_pool.acquire(block=True) as producer:
                for some in chunks(messages, PUBLISH_BATCH_SIZE):
                    with self._batched(producer, "run_message"):
                        for message in some:
                            self._send(RUN_TASK, message, message.task_id, message.queue, producer)
                    unsent = unsent[len(some) :]
        except BROKER_ERRORS as error:
            log.warning("cannot publish run messages (%s); they remain unpublished", error)
        return unsent

    def enqueue_run_messages(self, ids: Sequence[UUID]) -> None:
        """Calls `publish_run_messages` in the background; all but the first batch after the response."""
        self._submit_batches(
            self._messages, self._publish_run_batch, chunks(ids[:PUBLISH_BATCH_SIZE], PUBLISH_BATCH_SIZE)
        )
        if len(ids) > PUBLISH_BATCH_SIZE:
            self._send_after_response(self._publish_run_batch, ids[PUBLISH_BATCH_SIZE:])

    def enqueue_aborts(self, ids: Sequence[UUID]) -> None:
        """Tell all workers to abort the steps in flight of `ids`."""
        self._submit_batches(self._aborts, self._publish_abort_batch, chunks(ids, ABORT_BATCH))

    def enqueue_stop_tasks(self, ids: Sequence[UUID]) -> None:
        """Publish one revoke-plus-status task for each of `ids`, which were just cancelled.

        Those of more than TURN go once the caller's answer should be out: steps are aborted by other means.
        """
        if len(ids) > PUBLISH_BATCH_SIZE:
            self._send_after_response(self._publish_stop_batch, ids)
        else:
            self._submit_batches(self._messages, self._publish_stop_batch, chunks(ids, PUBLISH_BATCH_SIZE))

    def queue_depth(self, queue: Queue) -> int:
        """Messages waiting in `queue`. Raises one of BROKER_ERRORS."""
        with metrics.time_broker_call("look"), self._celery.connection_or_acquire() as connection:
            # Declared whole: RabbitMQ refuses a queue that is declared otherwise than it is.
            declared = self._celery.amqp.queues[str(queue)](connection.default_channel)
            return int(declared.queue_declare().message_count)

    def ping(self) -> None:
        """Does the broker answer? Raises one of BROKER_ERRORS."""
        self.queue_depth(Queue.RUNS)

    def _send_after_response(self, send: _Send, ids: Sequence[UUID]) -> None:
        """Send these when an answer that tells of all of them should be out.

        Making thousands of messages takes the interpreter from the threads that make and send the answer.
        """
        begin = partial(self._submit_batches, self._messages, send, chunks(ids, PUBLISH_BATCH_SIZE))
        waiting = Timer(RESPONSE_DELAY_S + len(ids) * RESPONSE_DELAY_PER_ID_S, copy_context().run, [begin])
        waiting.daemon = True
        try:
            waiting.start()
        except RuntimeError:
            # No more threads are to be had: then the answer has to wait.
            begin()

    def _submit_batches(
        self, executor: ThreadPoolExecutor, send: _Send, turns: Iterator[Sequence[UUID]]
    ) -> None:
        """Send one piece, then queue up again behind everybody else."""

        def turn() -> None:
            piece = next(turns, None)
            if piece is not None and send(piece):
                self._submit(executor, turn)

        self._submit(executor, turn)

    def _submit(self, lane: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        try:
            # With the context of who asked for it: lines name its request.
            lane.submit(copy_context().run, work).add_done_callback(_log_failure)
        except RuntimeError:
            log.info("not sent any more, the process is ending; the sweeper will retry")

    def _publish_run_batch(self, ids: Sequence[UUID]) -> bool:
        try:
            # Without the broker, the rest is left to the sweeper.
            return self.publish_run_messages(ids).unpublished == 0
        except ServiceUnavailable:
            log.warning("run messages stay owed: store unavailable")
            return False

    def _publish_abort_batch(self, ids: Sequence[UUID]) -> bool:
        try:
            names = [str(id_) for id_ in ids]
            with metrics.time_broker_call("abort"), faults.fault_site("abort.send"):
                broadcast(self._celery, ABORT_COMMAND, {"participant_ids": names})
        except BROKER_ERRORS as error:
            log.warning("the broker does not take aborts (%s); heartbeats will carry them", error)
            return False
        return True

    def _publish_stop_batch(self, ids: Sequence[UUID]) -> bool:
        try:
            with self._store.read() as connection:
                messages = dispatch.load_messages(connection, ids)
            with (
                self._celery.producer_pool.acquire(block=True) as producer,
                self._batched(producer, "stop_task"),
            ):
                for message in messages:
                    id_ = f"{message.task_id}.stop"
                    self._send(STOP_TASK, message, id_, Queue.CONTROL, producer, message.task_id)
        except ServiceUnavailable:
            log.warning("stop tasks are not sent: store unavailable; the sweeper will retry")
            return False
        except BROKER_ERRORS as error:
            log.warning("the broker does not take stop tasks (%s); the sweeper will retry", error)
            return False
        return True

    @contextmanager
    def _batched(self, producer: Any, work: Literal["run_message", "stop_task"]) -> Iterator[None]:
        """What is sent in this block, TURN messages at most, goes to the broker at its end, all in one go."""
        with (
            metrics.time_broker_call(work),
            faults.fault_site(f"{work}.send"),
            producer.batch(max_size=PUBLISH_BATCH_SIZE),
        ):
            yield

    def _send(self, task: str, message: RunMessage, id_: str, queue: str, producer: Any, *more: str) -> None:
        self._celery.send_task(
            task,
            args=[str(message.participant_id), *more],
            task_id=id_,
            queue=str(queue),
            # What Flower shows and searches; nothing secret.
            argsrepr=message.description,
            kwargsrepr="",
            ignore_result=True,
            headers=logs.propagated_headers() | traces.inject_trace_headers(),
            retry=False,
            producer=producer,
        )


def _log_failure(done: Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()):
        log.error("publishing failed", exc_info=error)
