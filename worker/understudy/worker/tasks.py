"""The two Celery tasks, run a participant and stop a participant, and the abort command."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from celery import Celery
from celery.app.task import Task
from celery.exceptions import Reject

from understudy import faults
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue, parse_dispatch_no
from understudy.queue.celery.broadcasts import broadcast
from understudy.queue.celery.control_commands import install_abort_command
from understudy.queue.celery.flower_events import VisibleRequest
from understudy.queue.celery.foreign_messages import drop_message
from understudy.queue.celery.pool import Job, JobHandler
from understudy.queue.names import ALREADY_CANCELLED, REVOKE_COMMAND, RUN_TASK, STOP_TASK
from understudy.queue.publisher import BROKER_ERRORS
from understudy.store import stops
from understudy.store.engine import Store
from understudy.store.run_states import load_run_states
from understudy.telemetry import logs, metrics, traces
from understudy.worker.claims import RunReport, RunResult
from understudy.worker.runner import Runner
from understudy.worker.task_states import show

log = logging.getLogger(__name__)

#: Seconds before a message that this process cannot claim is requeued.
REQUEUE_DELAY_S = 0.5


def register_run(
    app: Celery, runner: Runner, is_shutting_down: Callable[[], bool], is_store_reachable: Callable[[], bool]
) -> JobHandler:
    """Registers `simulation.run`, which runs one participant to its end, and the abort command.

    Returns the job handler that the pool calls for each message.
    """

    @app.task(name=RUN_TASK, Request=VisibleRequest)  # type: ignore[untyped-decorator]
    def run(participant_id: str) -> None:
        # Consumers need only its name; the pool calls `work` below.
        raise NotImplementedError(participant_id)

    async def work(job: Job) -> str:
        if is_shutting_down():
            # Another worker runs it.
            raise Reject(requeue=True)
        (participant_id,) = job.args
        context = logs.log_context(
            participant=participant_id, task=job.task_id, **_string_headers(job.headers, logs.REQUEST_ID)
        )
        with (
            context,
            traces.span(
                RUN_TASK,
                "consumer",
                _string_headers(job.headers, *traces.TRACE_HEADERS),
                participant=participant_id,
            ) as update_span,
        ):
            # Without the store, this process would hold the message until the store is available.
            report = RunReport(RunResult.REFUSED)
            if is_store_reachable():
                report = await runner.run(UUID(participant_id), parse_dispatch_no(job.task_id))
            update_span({"understudy.ending": report.result.value})
        metrics.count_run_message(report.result.value)
        if report.result is RunResult.REFUSED:
            # Without the pause, a process without a lease would requeue messages in a busy loop.
            await asyncio.sleep(REQUEUE_DELAY_S)
            raise Reject(requeue=True)
        return show(report, job.task_id)

    install_abort_command(runner.abort)
    return work


def _string_headers(headers: Mapping[str, Any], *names: str) -> dict[str, str]:
    """Returns the headers of `names` that have string values."""
    values = {name: headers.get(name) for name in names}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def register_stop(app: Celery, store: Store) -> None:
    """Registers `simulation.stop`, which revokes a run message and records the stop if no worker runs it."""
    # Abort broadcasts reach this worker too; it has no runs.
    install_abort_command(lambda _: None)

    @app.task(name=STOP_TASK, bind=True)  # type: ignore[untyped-decorator]
    def stop(self: Task, participant_id: str, run_task_id: str) -> None:
        id_ = UUID(participant_id)
        with store.read() as connection:
            state = load_run_states(connection, [id_]).get(id_)
        # A cancel is final. Without it the message is forged, and its revoke would delay the participant.
        if state is None or state.status is not Status.CANCELLED:
            drop_message("queue", str(Queue.CONTROL), f"participant {id_} is not cancelled")
            return
        # ALREADY_CANCELLED stops the workers from cancelling the participant again (operator_commands.py).
        try:
            broadcast(app, REVOKE_COMMAND, {"task_id": run_task_id, ALREADY_CANCELLED: True})
        except BROKER_ERRORS as error:
            log.warning("cannot publish a revoke (%s); the run message will claim nothing", error)
        context = logs.log_context(
            participant=participant_id, task=self.request.id, **_string_headers(self.request, logs.REQUEST_ID)
        )
        with (
            context,
            traces.span(
                STOP_TASK,
                "consumer",
                _string_headers(self.request, *traces.TRACE_HEADERS),
                participant=participant_id,
            ),
            faults.fault_site("stop.commit"),
        ):
            stopped = store.write(lambda connection: stops.record_stop(connection, id_))
        metrics.observe_stops("stop_task", (stop.after_s for stop in stopped))
