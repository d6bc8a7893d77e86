"""Messages that an attacker writes into the broker's queues."""

from collections.abc import Iterator
from uuid import UUID, uuid4

from tests.attack.attack import Answer, Attack
from tests.attack.target import Target
from tests.contract.manual_worker import participant
from tests.dedicated_brokers import depth
from tests.servers import wait_until
from understudy.domain.queues import Queue, stop_task_id, task_id
from understudy.queue.celery.app import create_celery
from understudy.queue.names import RUN_TASK, STOP_TASK


def _forged(target: Target) -> Iterator[Answer]:
    workers = target.workers
    ids = [target.theirs.participant, target.mine.participant]
    before = [participant(target.store, UUID(id_)) for id_ in ids]
    with create_celery(target.settings.broker_url) as app:
        for id_ in [*ids, str(uuid4()), "no uuid"]:
            for name in (str(uuid4()), task_id(id_, 1), task_id(id_, 7)):
                app.send_task(RUN_TASK, [id_], task_id=name, queue=str(Queue.RUNS), ignore_result=True)
                stop = [id_, name]
                app.send_task(STOP_TASK, stop, task_id=stop_task_id(name), queue=str(Queue.CONTROL), ignore_result=True)
        app.send_task("os.system", ["id"], queue=str(Queue.RUNS), ignore_result=True)
    queues = (Queue.RUNS, Queue.CONTROL)
    wait_until(lambda: not any(depth(target.settings.broker_url, queue) for queue in queues))
    changed = [id_ for id_, row in zip(ids, before, strict=True) if participant(target.store, UUID(id_)) != row]
    yield Answer("run and stop messages of terminal participants", f"changed: {changed}", not changed)
    for worker in workers:
        broken = worker.popen.poll() is not None or "Traceback" in worker.log.read_text()
        yield Answer(f"the worker {worker.name} afterwards", "broken" if broken else "runs", not broken)


ATTACKS = [
    Attack("forged run or stop message", "it is dropped; nothing starts or stops", _forged, writes=True, is_quick=False)
]
