"""The two tasks, and the control command, that messages call."""

import logging
import time
from collections.abc import Callable
from uuid import UUID

from celery import Celery
from celery.app.task import Task
from celery.exceptions import Ignore, Reject
from celery.worker.control import control_command

from shared import faults, logs, metrics, traces
from shared.queue.names import ABORT_COMMAND, RUN_TASK, STOP_TASK
from shared.queue.publisher import BROKER_ERRORS
from shared.store import stops
from shared.store.engine import Store
from worker.pool import current_job
from worker.run import Ending
from worker.runner import Runner

log = logging.getLogger(__name__)

#: How long a message that may not be claimed here is held before others get it.
REFUSAL_PAUSE_S = 0.5


def register_run(
    app: Celery, runner: Runner, leaving: Callable[[], bool], in_touch: Callable[[], bool]
) -> None:
    """`simulation.run`: run one participant to its end; and the command that aborts some."""

    @app.task(name=RUN_TASK, bind=True)  # type: ignore[untyped-decorator]
    def run(self: Task, participant_id: str) -> None:
        if leaving():
            # Not started here any more; somebody else takes it.
            raise Reject(requeue=True)
        # A process out of touch with the store would keep the message until it is back.
        told = logs.about(participant=participant_id, task=self.request.id, **_given(self, logs.REQUEST_ID))
        with (
            told,
            traces.span(
                RUN_TASK, "consumer", _given(self, *traces.CARRIED), participant=participant_id
            ) as tell,
        ):
            ending = runner.run(UUID(participant_id), current_job()) if in_touch() else Ending.REFUSED
            tell({"understudy.ending": ending.value})
        metrics.taken(ending.value)
        if ending is Ending.REFUSED:
            # Without the pause, a process without a lease would turn the queue over and over.
            time.sleep(REFUSAL_PAUSE_S)
            raise Reject(requeue=True)
        if ending is Ending.STOPPED:
            _tell_revoked(self)
            # Without this, Flower would show a success.
            raise Ignore

    _register_abort(runner.abort)


def _given(task: Task, *names: str) -> dict[str, str]:
    """What the headers of the task's message tell under these names."""
    given = {name: task.request.get(name) for name in names}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def _register_abort(abort_these: Callable[[list[UUID]], None]) -> None:
    @control_command(name=ABORT_COMMAND, args=[("participant_ids", list)])  # type: ignore[untyped-decorator]
    def abort(state: object, participant_ids: list[str]) -> None:  # noqa: ARG001 - Celery's signature
        abort_these([UUID(id_) for id_ in participant_ids])


def _tell_revoked(task: Task) -> None:
    try:
        task.send_event("task-revoked", retry=False, terminated=True, signum=None, expired=False)
    except BROKER_ERRORS as error:
        log.info("Flower was not told of a stop: %s", error)


def register_stop(app: Celery, store: Store) -> None:
    """`simulation.stop`: make a queued run message void, and record the stop of a run that nobody holds."""
    # A broadcast reaches this worker too, which runs nobody.
    _register_abort(lambda _: None)

    @app.task(name=STOP_TASK, bind=True)  # type: ignore[untyped-decorator]
    def stop(self: Task, participant_id: str, run_task_id: str) -> None:
        app.control.revoke(run_task_id)
        id_ = UUID(participant_id)
        told = logs.about(participant=participant_id, task=self.request.id, **_given(self, logs.REQUEST_ID))
        with (
            told,
            traces.span(STOP_TASK, "consumer", _given(self, *traces.CARRIED), participant=participant_id),
            faults.around("stop.commit"),
        ):
            stopped = store.write(lambda connection: stops.mark_stopped(connection, id_))
        metrics.stopped("stop_task", (stop.after_s for stop in stopped))


def quiet_revokes() -> None:
    """Each revoke would be logged as not noted by the result backend: there is none, and need not be."""
    logging.getLogger("celery.worker.control").addFilter(
        lambda record: "revoked in backend" not in record.getMessage()
    )
