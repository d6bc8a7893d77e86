"""The parts of a worker process run participants, in this process: real store, real broker, real event loop."""

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import Connection, select, text, update

from tests.factories import StudyStore, make_participants, make_study
from tests.parameters import on_postgresql, one_store
from tests.plugins.scripted import ScriptedEnvironment
from tests.servers import wait_until
from understudy.domain.addresses import AllowedAddresses
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.queues import Queue, parse_dispatch_no, task_id
from understudy.domain.simulation import Action
from understudy.queue.celery.app import create_celery
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import Publisher
from understudy.settings import Settings
from understudy.store import leases, lineage, recovery
from understudy.store.engine import Store, store_clock, store_time
from understudy.store.schema import Tables
from understudy.worker import committer
from understudy.worker.claims import RunResult, claim_batch
from understudy.worker.committer import Committer
from understudy.worker.heartbeat import LeaseKeeper
from understudy.worker.run import Run
from understudy.worker.runner import Runner
from understudy.worker.steps import ClaimedRun
from understudy.worker.sweeper import Sweeper
from understudy.worker.watchdog import LoopMonitor, Watchdog
from understudy.worker.worker_context import WorkerContext

_p = Tables.participant


class Worker(StudyStore):
    """A runner with all parts of a worker process, and participants of the scripted environment."""

    def __init__(self, settings: Settings, store: Store, *, quarantine: bool = False) -> None:
        super().__init__(store)
        self.settings = settings
        self.log = settings.data_dir / "steps.log"
        self.shutdown = threading.Event()
        self.committer = Committer(store)
        self.publisher = Publisher(create_celery(settings.broker_url), store)
        self.notifier = Notifier(settings.notifications_url)
        self.keeper = LeaseKeeper(store, "test", ttl_s=5, interval_s=0.2)
        self.context = WorkerContext(
            self.committer,
            lambda: self.keeper.worker_id,
            self.shutdown.is_set,
            AllowedAddresses.of(all_private=True),
            quarantine,
        )
        self.runner = Runner(self.context, self.publisher, self.notifier)
        self.keeper.start(self.runner)

    def close(self) -> None:
        for part in (self.runner, self.keeper, self.committer, self.publisher, self.notifier):
            part.close()

    def participant(self, max_interactions: int = 5, **details: Any) -> UUID:
        """Creates a participant of a study of its own; `details` are of the iteration, else its content."""
        of_study = {"success", "mind", "step_timeout_s", "run_timeout_s"} & set(details)
        study = {name: details.pop(name) for name in of_study}
        content = {"log": str(self.log)} | details
        study_id, (iteration_id,) = make_study(self.store, self.workspace_id, content=content, **study)
        return make_participants(
            self.store, self.workspace_id, study_id, iteration_id, max_interactions=max_interactions
        )[0]

    def run(self, id_: UUID) -> RunResult:
        return self.start(id_, step="").result()

    def start(self, id_: UUID, step: str = "act 0") -> Future[RunResult]:
        """Starts its run; returns once `step` is logged."""
        run = self.runner.submit(self._result(id_))
        wait_until(lambda: step in self.steps() or not step)
        return run

    async def _result(self, id_: UUID) -> RunResult:
        return (await self.runner.run(id_)).result

    def steps(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [" ".join(line.split()[:2]) for line in lines]


@pytest.fixture
def worker(settings: Settings, store: Store) -> Iterator[Worker]:
    with contextlib.closing(Worker(settings, store)) as made:
        yield made


def raise_unavailable(_: object) -> None:
    raise ServiceUnavailable("The store is unavailable.")


# -- ends of runs ------------------------------------------------------------------------------------------


@one_store
def test_run_logs_its_start_and_its_end(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "understudy.worker.run")
    id_ = worker.participant(2)
    worker.run(id_)
    lines = [one.getMessage() for one in caplog.records if one.name == "understudy.worker.run"]
    assert lines[0] == f"participant {id_}: run started"
    assert lines[1].startswith(f"participant {id_}: run ended: ENDED after ")


@pytest.mark.parametrize(
    ("details", "outcome", "count"),
    [
        ({"max_interactions": 3}, "cap_reached", 3),
        # Checked after each own interaction, not before the first.
        ({"success": {"url_contains": "scripted://page/"}}, "succeeded", 1),
        ({"at": {"2": "give_up"}}, "gave_up", 3),
        ({"at": {"2": "finish"}}, None, 3),
    ],
    ids=["cap", "success", "give_up", "finish"],
)
def test_run_completes_with_its_outcome(worker: Worker, details: Any, outcome: str | None, count: int) -> None:
    id_ = worker.participant(**details)
    assert worker.run(id_) is RunResult.ENDED
    row = worker.row(id_)
    assert (row.status, row.outcome, row.interaction_count) == ("completed", outcome, count)


@pytest.mark.parametrize(
    ("details", "kind", "message"),
    [
        ({"at": {"0": "unreachable"}}, "environment_error", "nothing answers there"),
        ({"at": {"1": "raise"}}, "simulator_error", "RuntimeError: the environment broke"),
        ({"at": {"1": "garbage"}}, "simulator_error", "must return Observation"),
        (
            {"at": {"1": "unstorable"}},
            "simulator_error",
            "the environment's snapshot at 'page' must be plain JSON; got object",
        ),
        ({"at": {"1": "infinite"}}, "simulator_error", "the environment's snapshot at 'page' must be a finite number"),
        ({"at": {"1": "mind remembers nan"}}, "simulator_error", "the mind's memory at 'seen' must be a finite number"),
        ({"at": {"1": "mind remembers depth"}}, "simulator_error", "the mind's memory must be nested at most 100 deep"),
        ({"at": {"1": "mind says 1e999"}}, "simulator_error", "the mind's action.value at 'A' must be a finite number"),
        ({"at": {"1": "mind thinks nothing"}}, "simulator_error", "the mind's thought must be a text; got NoneType"),
        ({"at": {"1": "mind used nan"}}, "simulator_error", "the mind's usage at 'seconds' must be a finite number"),
        (
            {"at": {"1": "status 10e400"}},
            "simulator_error",
            "the environment's observation at 'status' must be a finite number",
        ),
        ({"mind": "no such mind"}, "simulator_error", "no such mind"),
        ({"delay_s": 5, "step_timeout_s": 0.2}, "step_timeout", "longer than the 0.2 s allowed"),
        ({"delay_s": 0.2, "run_timeout_s": 0.5}, "run_timeout", "The run took longer than the 0.5 s allowed"),
    ],
)
def test_run_that_cannot_continue_fails_with_the_reason(
    worker: Worker, details: dict[str, Any], kind: str, message: str
) -> None:
    id_ = worker.participant(9, **details)
    assert worker.run(id_) is RunResult.ENDED
    row = worker.row(id_)
    assert (row.status, row.error_kind) == ("failed", kind)
    assert message in row.error_message


def test_duplicate_message_runs_nothing(worker: Worker) -> None:
    id_ = worker.participant(3, delay_s=0.2)
    runs = [worker.start(id_, step="") for _ in range(2)]
    assert {run.result(60) for run in runs} == {RunResult.ENDED, RunResult.DROPPED}
    assert worker.row(id_).epoch == 1


def test_extended_run_resumes_from_the_checkpoint(worker: Worker) -> None:
    id_ = worker.participant(2)
    worker.run(id_)
    child = worker.extend(id_, 2, "Turn left").id
    worker.run(child)
    assert worker.steps() == [
        *("open 0", "act 0", "acted 0", "act 1", "acted 1"),
        *("restore 2", "act 2", "acted 2", "act 3", "acted 3"),
    ]
    rows = worker.read(lambda connection: list(lineage.interactions(connection, child, limit=9)))
    assert [row.thought for row in rows if row.participant_id == child] == ["Told: Turn left"] * 2
    # The memory is kept; only the first own turn has `resumed`.
    assert worker.read(lineage.load_checkpoint, child)["memory"] == {"steps": 4, "resumed": False}


def test_run_claimed_at_its_cap_completes(worker: Worker) -> None:
    id_ = worker.participant(1)
    worker.write(Connection.execute, update(_p).values(interaction_count=0, max_interactions=0))
    assert worker.run(id_) is RunResult.ENDED
    assert worker.row(id_).outcome == "cap_reached"


# -- aborts and releases -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_broadcast", [True, False], ids=["broadcast", "heartbeat"])
def test_cancel_aborts_the_step_in_flight_and_records_the_stop(worker: Worker, is_broadcast: bool) -> None:
    """If no broadcast arrives, the next heartbeat reads the cancel from the store."""
    id_ = worker.participant(9, delay_s=30)
    run = worker.start(id_)
    worker.cancel(id_)
    began = time.monotonic()
    if is_broadcast:
        worker.runner.abort([id_])
    assert run.result(60) is RunResult.STOPPED
    assert time.monotonic() - began < 5
    assert worker.steps()[-1] == "aborted 0"
    assert worker.row(id_).stopped_at is not None


def test_abort_of_a_participant_that_is_not_cancelled_releases_it(worker: Worker) -> None:
    id_ = worker.participant(9, delay_s=30)
    run = worker.start(id_)
    worker.runner.abort([id_])
    assert run.result(60) is RunResult.RELEASED
    wait_until(lambda: worker.publisher.queue_depth(Queue.RECOVERED) == 1)
    assert worker.row(id_).attempt == 0


def test_quarantine_worker_releases_a_run_after_one_interaction(settings: Settings, store: Store) -> None:
    with contextlib.closing(Worker(settings, store, quarantine=True)) as worker:
        id_, short = worker.participant(9), worker.participant(1)
        assert worker.run(id_) is RunResult.RELEASED
        row = worker.row(id_)
        assert (row.status, row.interaction_count, row.attempt) == ("pending", 1, 0)
        assert row.queue == "simulations.recovered"
        assert worker.run(short) is RunResult.ENDED


def test_step_that_suppresses_its_abort_stores_nothing(worker: Worker) -> None:
    id_ = worker.participant(9, delay_s=1, at={"0": "swallow"})
    run = worker.start(id_)
    worker.cancel(id_)
    worker.runner.abort([id_])
    assert run.result(60) is RunResult.STOPPED
    assert "swallowed 0" in worker.steps()
    assert worker.row(id_).interaction_count == 0


def test_drain_releases_a_run_after_its_step(worker: Worker) -> None:
    id_ = worker.participant(9, delay_s=0.2)
    run = worker.start(id_, "act 1")
    worker.shutdown.set()
    assert run.result(60) is RunResult.RELEASED
    row = worker.row(id_)
    assert (row.status, row.attempt) == ("pending", 0)
    assert row.interaction_count >= 2
    assert "aborted 1" not in worker.steps()


def test_worker_whose_lease_expired_aborts_its_runs_and_creates_a_lease(worker: Worker) -> None:
    id_ = worker.participant(9, delay_s=30)
    run = worker.start(id_)
    lost = worker.keeper.worker_id

    def expire_and_recover(connection: Connection) -> None:
        # In one transaction: a heartbeat in between would find the expired lease, and the run releases itself.
        leases.expire_lease(connection, lost)
        recovery.recover_lost(connection, 3, 10)

    worker.write(expire_and_recover)
    assert run.result(60) is RunResult.STOPPED
    wait_until(lambda: worker.keeper.worker_id != lost)
    assert worker.row(id_).status == "pending"
    assert worker.run(worker.participant(1)) is RunResult.ENDED


def test_heartbeat_releases_a_claim_without_a_run(worker: Worker) -> None:
    id_ = worker.participant()
    worker.must_claim(id_, worker.keeper.worker_id)
    wait_until(lambda: worker.row(id_).status == "pending")
    assert worker.row(id_).attempt == 0


@one_store
def test_heartbeat_keeps_a_claim_whose_result_has_not_reached_its_run(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many runs that start at once, or a slow import, delay a loop for longer than two heartbeats."""
    id_ = worker.participant(1)
    resolve = committer._resolve_futures

    def resolve_late(outcomes: list[Any]) -> None:
        time.sleep(1)
        resolve(outcomes)

    monkeypatch.setattr(committer, "_resolve_futures", resolve_late)
    assert worker.run(id_) is RunResult.ENDED
    assert (worker.row(id_).status, worker.row(id_).epoch, worker.row(id_).attempt) == ("completed", 1, 0)


def test_shutdown_releases_a_claim_without_a_run(worker: Worker) -> None:
    """Its result came too late for the run. The release costs no attempt."""
    id_ = worker.participant()
    worker.keeper._stop.set()
    worker.must_claim(id_, worker.keeper.worker_id)
    worker.keeper.close()
    worker.recover()
    assert (worker.row(id_).status, worker.row(id_).attempt) == ("pending", 0)


def test_worker_without_a_lease_refuses_messages(worker: Worker) -> None:
    worker.keeper.close()
    id_ = worker.participant()
    assert worker.run(id_) is RunResult.REFUSED
    assert worker.row(id_).status == "pending"


@one_store
@pytest.mark.valkey("without notifications, waits poll the store")
def test_end_of_a_run_is_notified(worker: Worker) -> None:
    with redis.Redis.from_url(worker.settings.notifications_url) as client, client.pubsub() as listener:
        listener.subscribe("understudy.notices")
        id_ = worker.participant(1)
        worker.run(id_)
        message = wait_until(
            lambda: (found := listener.get_message(timeout=1)) and found["type"] == "message" and found
        )
    assert json.loads(message["data"]) == [str(id_)]


# -- the committer -----------------------------------------------------------------------------------------


def test_failed_write_does_not_affect_the_others_of_its_transaction(worker: Worker) -> None:
    good = [worker.participant(3) for _ in range(30)]
    bad = worker.participant(3, at={"1": "unstorable"})
    runs = [worker.start(id_, step="") for id_ in (*good[:15], bad, *good[15:])]
    assert {run.result(60) for run in runs} == {RunResult.ENDED}
    assert {worker.row(id_).status for id_ in good} == {"completed"}
    assert worker.row(bad).error_kind == "simulator_error"


def write_together(worker: Worker, *writes: Callable[[], Awaitable[Any]]) -> None:
    """Has the committer commit `writes` in one transaction, after one that it is busy with."""
    is_busy, may_continue = threading.Event(), threading.Event()

    def occupy(_: Connection) -> None:
        is_busy.set()
        may_continue.wait(10)

    async def write_all() -> None:
        first = asyncio.ensure_future(worker.committer.write(uuid4(), occupy, "step.commit"))
        assert await asyncio.to_thread(is_busy.wait, 10)
        others = [asyncio.ensure_future(write()) for write in writes]
        await asyncio.sleep(0)  # each has submitted its write
        may_continue.set()
        await asyncio.gather(first, *others)

    asyncio.run(write_all())


@one_store
def test_writes_of_one_transaction_are_in_id_order(worker: Worker) -> None:
    """Two transactions that lock the same rows in two orders would deadlock."""
    order: list[UUID] = []
    ids = [uuid4() for _ in range(20)]
    writes = [partial(worker.committer.write, id_, lambda _, id_=id_: order.append(id_), "step.commit") for id_ in ids]
    write_together(worker, *writes)
    assert order == sorted(ids)


@on_postgresql
def test_writes_of_several_kinds_lock_their_rows_in_id_order(worker: Worker) -> None:
    """The writes of one kind are one batch; all of the first kind precede the second. SQLite locks no rows."""
    first, second, third = sorted(worker.participant() for _ in range(3))

    def touch(connection: Connection, ids: Sequence[UUID]) -> list[None]:
        return [connection.execute(update(_p).where(_p.c.id == id_).values(seq=_p.c.seq)) and None for id_ in ids]

    def touch_too(connection: Connection, ids: Sequence[UUID]) -> list[None]:
        return touch(connection, ids)

    kinds = [(first, touch), (third, touch), (second, touch_too)]
    writes = [partial(worker.committer.write_batched, id_, work, id_, "step.commit") for id_, work in kinds]
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    lock = select(_p.c.id).with_for_update(nowait=True)
    with worker.store.engine.begin() as other:
        other.execute(lock.where(_p.c.id == second))
        writing = threading.Thread(target=write_together, args=(worker, *writes), daemon=True)
        writing.start()
        wait_until(lambda: other.scalar(waiting))
        # It waits for the second row, and has not locked the third.
        other.execute(lock.where(_p.c.id == third))
    writing.join(20)
    assert not writing.is_alive()


def test_runs_claimed_in_one_transaction_each_get_their_result(worker: Worker) -> None:
    source = worker.participant(2)
    worker.run(source)
    child = worker.extend(source, 1).id
    cancelled = worker.participant()
    worker.cancel(cancelled)
    *fresh, timed_out = [worker.participant(2) for _ in range(30)]
    ids = [*fresh, timed_out, fresh[0], cancelled, source, child]

    async def claim_all() -> list[ClaimedRun | RunResult]:
        runs = [Run(id_, worker.context) for id_ in ids]
        runs[ids.index(timed_out)].claim_timed_out = True
        return worker.store.write(lambda connection: claim_batch(connection, runs))

    results = asyncio.run(claim_all())
    claimed = [(result.row.id, result.row.epoch) for result in results if isinstance(result, ClaimedRun)]
    assert claimed == [(id_, 1) for id_ in (*fresh, child)]
    # The others: timed out, a duplicate, cancelled, completed.
    assert results[len(fresh) : -1] == [RunResult.REFUSED, *[RunResult.DROPPED] * 3]
    assert isinstance(results[-1], ClaimedRun)
    assert results[-1].state is not None
    assert [row.ordinal for row in results[-1].history] == [0, 1]


@one_store
def test_claim_that_timed_out_is_not_committed_later(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run would hold it, and a shutdown would leave it behind."""
    id_ = worker.participant()
    with monkeypatch.context() as patch:
        patch.setattr("understudy.worker.run.CLAIM_TIMEOUT_S", 0.3)
        patch.setattr(worker.store, "write", raise_unavailable)
        assert worker.run(id_) is RunResult.REFUSED
    # The committer handles its writes in order.
    assert worker.run(worker.participant(1)) is RunResult.ENDED
    assert (worker.row(id_).status, worker.row(id_).epoch) == ("pending", 0)


@one_store
def test_shutdown_during_an_outage_of_the_store_stops_retrying(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    id_, later = worker.participant(9, delay_s=30), worker.participant(9)
    run = worker.start(id_)
    monkeypatch.setattr(worker.store, "write", raise_unavailable)
    worker.runner.abort_all()
    refused = worker.start(later, step="")
    time.sleep(1)
    assert not run.done()
    assert not refused.done()
    worker.committer.stop_retrying()
    assert run.result(60) is RunResult.UNKNOWN
    assert refused.result(60) is RunResult.REFUSED
    monkeypatch.undo()
    # Other processes learn from the lease that no worker runs it.
    assert worker.row(id_).status == "running"


@pytest.mark.parametrize(("dispatch_no", "republished"), [(1, 0), (2, 29), (None, 0)])
def test_claim_by_an_earlier_message_does_not_make_the_sweeper_republish_the_backlog(
    worker: Worker, dispatch_no: int | None, republished: int
) -> None:
    """Its latest message is still in the queue, behind all others; only a claim by that one has overtaken them."""
    ids = worker.participants(30)
    worker.publisher.refill(30)
    worker.write(Connection.execute, update(_p).values(dispatched_at=store_clock(-3600)))
    now = worker.read(store_time)
    assert worker.publisher.republish(ids[:1], now) == 1

    async def claim() -> None:
        (claimed,) = worker.write(claim_batch, [Run(ids[0], worker.context, dispatch_no)])
        assert isinstance(claimed, ClaimedRun)

    asyncio.run(claim())
    sweeper = Sweeper(worker.settings, worker.store, worker.publisher, worker.notifier)
    for _ in range(3):
        sweeper.publish()
    assert sum(row.dispatch_no for row in worker.rows()) == 30 + 1 + republished


def test_claim_by_a_message_that_nobody_sent_starts_nothing(worker: Worker) -> None:
    forged, sent = worker.participants(2)
    worker.write(
        Connection.execute, update(_p).where(_p.c.id == sent).values(dispatch_no=1, dispatched_at=store_clock())
    )

    async def claim() -> list[bool]:
        runs = [Run(forged, worker.context, 7), Run(sent, worker.context, 1)]
        claimed = worker.write(claim_batch, runs)
        return [isinstance(one, ClaimedRun) for one in claimed]

    assert asyncio.run(claim()) == [False, True]


def test_message_tells_the_run_which_publication_it_is() -> None:
    id_ = uuid4()
    assert parse_dispatch_no(task_id(id_, 17)) == 17
    assert parse_dispatch_no(f"{task_id(id_, 17)}.stop") is None


LOSE_RACES = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$;
CREATE TRIGGER lose BEFORE INSERT ON interaction EXECUTE FUNCTION lose();
"""


@on_postgresql
def test_commit_that_loses_all_its_races_waits_like_one_of_an_unavailable_store(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(committer, "STORE_RETRY_S", 0.01)
    id_ = worker.participant(2)
    worker.write(Connection.exec_driver_sql, LOSE_RACES)
    run = worker.start(id_)
    wait_until(lambda: caplog.text.count("retrying the writes of runs") >= 2)
    assert worker.row(id_).status == "running"
    worker.write(Connection.exec_driver_sql, "DROP TRIGGER lose ON interaction")
    assert run.result(60) is RunResult.ENDED
    assert worker.row(id_).interaction_count == 2


def test_run_is_released_when_the_store_refuses_its_commit_for_the_schema(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the participant nor its values are at fault, and a wait would block all writes of the process."""
    monkeypatch.setattr("understudy.worker.run.REFUSED_WRITE_PAUSE_S", 0)
    id_ = worker.participant(2)
    worker.write(Connection.exec_driver_sql, "ALTER TABLE checkpoint RENAME TO elsewhere")
    assert worker.run(id_) is RunResult.RELEASED
    row = worker.row(id_)
    assert (row.status, row.attempt, row.interaction_count, row.error_message) == ("pending", 0, 0, None)
    worker.write(Connection.exec_driver_sql, "ALTER TABLE elsewhere RENAME TO checkpoint")
    assert worker.run(id_) is RunResult.ENDED


def test_run_whose_values_the_store_refuses_fails_without_sql_in_its_message(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: Connection, _: object) -> list[bool]:
        leases.create_lease(connection, worker.keeper.worker_id, "again", 1)
        return [True]

    monkeypatch.setattr("understudy.store.lifecycle.commit_steps", refuse)
    id_ = worker.participant(2)
    assert worker.run(id_) is RunResult.ENDED
    row = worker.row(id_)
    assert (row.status, row.error_kind) == ("failed", "simulator_error")
    assert row.error_message == (
        "The participant made an interaction that cannot be stored: the store refused a value. "
        "The log of the worker says more."
    )


# -- the watchdog ------------------------------------------------------------------------------------------


@one_store
def test_watchdog_aborts_the_steps_of_an_expired_lease_without_the_heartbeat(worker: Worker) -> None:
    """The heartbeat may wait for the store for minutes; other workers then own its participants."""
    run = worker.start(worker.participant(9, delay_s=30))
    watchdog = Watchdog(worker.store, worker.keeper, worker.runner, lambda: None, loop_stall_s=30, max_memory_mb=0)
    with contextlib.closing(watchdog):
        time.sleep(1)
        assert "aborted 0" not in worker.steps()
        worker.keeper._stop.set()
        worker.keeper.lease_valid_until = time.monotonic()
        wait_until(lambda: "aborted 0" in worker.steps())
        assert run.result(60) is RunResult.RELEASED


@one_store
def test_busy_loop_is_not_stalled(worker: Worker) -> None:
    async def block() -> None:
        time.sleep(0.1)  # noqa: ASYNC251 - the loop must not run meanwhile

    blocks = [worker.runner.submit(block()) for _ in range(20)]
    monitor, stalls = LoopMonitor(worker.runner.loop), []
    while not blocks[-1].done():
        stalls.append(monitor.stalled_s())
        time.sleep(0.02)
    assert max(stalls) < 1


@one_store
def test_stalled_loop_names_the_run_that_blocks_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripted.BLOCK_S", 1.5)
    other = worker.start(worker.participant(9, delay_s=30))
    id_ = worker.participant(2, at={"1": "block"})
    run = worker.start(id_, step="")
    monitor = LoopMonitor(worker.runner.loop)
    wait_until(lambda: monitor.stalled_s() > 0.5)
    claim = worker.runner.claim_of(monitor.task)
    assert claim.participant_id == id_
    assert run.result(60) is RunResult.ENDED
    worker.runner.abort_all()
    other.result(60)


# -- steps that do not end when they are aborted ------------------------------------------------------------


class CleaningEnvironment(ScriptedEnvironment):
    """Its steps take a moment to clean up, for example to close a connection."""

    async def act(self, action: Action) -> None:
        self._note("act")
        try:
            await asyncio.sleep(30)
        finally:
            self._note("tidying")
            await asyncio.sleep(0.5)
            self._note("tidied")


class UnclosableEnvironment(ScriptedEnvironment):
    async def close(self) -> None:
        raise RuntimeError("it does not close either")


@pytest.fixture(params=["timeout", "abort"])
def interrupted(request: pytest.FixtureRequest, worker: Worker) -> Callable[..., tuple[UUID, Future[RunResult]]]:
    """Starts a run whose step times out, or is cancelled and aborted."""

    def start(**content: Any) -> tuple[UUID, Future[RunResult]]:
        id_ = worker.participant(9, step_timeout_s=0.3 if request.param == "timeout" else 60, **content)
        run = worker.start(id_)
        if request.param == "abort":
            worker.cancel(id_)
            worker.runner.abort([id_])
        return id_, run

    return start


@one_store
def test_step_cleans_up_although_its_run_is_aborted_again(
    worker: Worker, interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripted.ScriptedEnvironment", CleaningEnvironment)
    id_, run = interrupted()
    wait_until(lambda: "tidying 0" in worker.steps())
    worker.runner.abort([id_])
    run.result(60)
    assert worker.steps()[-1] == "tidied 0"


@one_store
def test_step_that_suppresses_its_abort_is_aborted_again(
    worker: Worker, interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.worker.run.CLEANUP_TIMEOUT_S", 0.3)
    _, run = interrupted(delay_s=30, at={"0": "swallow"})
    run.result(60)
    wait_until(lambda: worker.steps()[-2:] == ["swallowed 0", "aborted 0"], 10)


@one_store
def test_step_that_never_ends_does_not_delay_the_end_of_its_run(
    worker: Worker, interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripted.ScriptedEnvironment", UnclosableEnvironment)
    monkeypatch.setattr("understudy.worker.run.CLEANUP_TIMEOUT_S", 0.3)
    id_, run = interrupted(at={"0": "stubborn"})
    began = time.monotonic()
    result = run.result(60)
    assert time.monotonic() - began < 10
    row = worker.row(id_)
    # The stop of a step that still runs is not recorded.
    assert (result, row.status, row.error_kind, row.stopped_at) in (
        (RunResult.ENDED, "failed", "step_timeout", None),
        (RunResult.STOPPED, "cancelled", None, None),
    )
