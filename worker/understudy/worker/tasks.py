"""The two tasks, and the control command, that messages call."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from celery import Celery
from celery.app.task import Task
from celery.exceptions import Reject, Terminated

from understudy import faults
from understudy.queue.celery.broadcasts import broadcast
from understudy.queue.celery.control_commands import install_abort_command
from understudy.queue.celery.flower_events import VisibleRequest
from understudy.queue.celery.pool import Job, JobHandler
from understudy.queue.names import ALREADY_CANCELLED, REVOKE_COMMAND, RUN_TASK, STOP_TASK
from understudy.queue.publisher import BROKER_ERRORS
from understudy.store import stops
from understudy.store.engine import Store
from understudy.telemetry import logs, metrics, traces
from understudy.worker.run import RunResult
from understudy.worker.runner import Runner

log = logging.getLogger(__name__)

#: How long a message that may not be claimed here is held before others get it.
REQUEUE_DELAY_S = 0.5


def register_run(
    app: Celery, runner: Runner, leaving: Callable[[], bool], in_touch: Callable[[], bool]
) -> JobHandler:
    """`simulation.run`: run one participant to its end; and the command that aborts some.

    Returns what the pool does for each message.
    """

    @app.task(name=RUN_TASK, Request=VisibleRequest)  # type: ignore[untyped-decorator]
    def run(participant_id: str) -> None:
        # Its name is what consumers look for; the pool calls the work below.
        raise NotImplementedError(participant_id)

    async def work(job: Job) -> str:
        if leaving():
            # Not started here any more; somebody else takes it.
            raise Reject(requeue=True)
        (participant_id,) = job.args
        told = logs.log_context(
            participant=participant_id, task=job.task_id, **_string_headers(job.headers, logs.REQUEST_ID)
        )
        with (
            told,
            traces.span(
                RUN_TASK,
                "consumer",
                _string_headers(job.headers, *traces.TRACE_HEADERS),
                participant=participant_id,
            ) as tell,
        ):
            # A process out of touch with the store would keep the message until it is back.
            ending = await runner.run(UUID(participant_id)) if in_touch() else RunResult.REFUSED
            tell({"understudy.ending": ending.value})
        metrics.count_run_message(ending.value)
        if ending is RunResult.REFUSED:
            # Without the pause, a process without a lease would turn the queue over and over.
            await asyncio.sleep(REQUEUE_DELAY_S)
            raise Reject(requeue=True)
        if ending is RunResult.STOPPED:
            # Without this, Flower would show a success.
            raise Terminated
        # Shown by Flower, and kept nowhere else.
        return str(ending.value)

    install_abort_command(runner.abort)
    return work


def _string_headers(headers: Mapping[str, Any], *names: str) -> dict[str, str]:
    """What the headers of a message tell under these names."""
    given = {name: headers.get(name) for name in names}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def register_stop(app: Celery, store: Store) -> None:
    """`simulation.stop`: make a queued run message void, and record the stop of a run that nobody holds."""
    # A broadcast reaches this worker too, which runs nobody.
    install_abort_command(lambda _: None)

    @app.task(name=STOP_TASK, bind=True)  # type: ignore[untyped-decorator]
    def stop(self: Task, participant_id: str, run_task_id: str) -> None:
        # The participant is cancelled already; without the word, workers would go and cancel it (`orders`).
        try:
            broadcast(app, REVOKE_COMMAND, {"task_id": run_task_id, ALREADY_CANCELLED: True})
        except BROKER_ERRORS as error:
            log.warning("the broker does not take a revoke (%s); the message finds nothing to claim", error)
        id_ = UUID(participant_id)
        told = logs.log_context(
            participant=participant_id, task=self.request.id, **_string_headers(self.request, logs.REQUEST_ID)
        )
        with (
            told,
            traces.span(
                STOP_TASK,
                "consumer",
                _string_headers(self.request, *traces.TRACE_HEADERS),
                participant=participant_id,
            ),
            faults.fault_site("stop.commit"),
        ):
            stopped = store.write(lambda connection: stops.mark_stopped(connection, id_))
        metrics.observe_stops("stop_task", (stop.after_s for stop in stopped))
