"""What a worker process does with a participant, in this process: real store, real broker, real loop."""

import asyncio
import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import Connection, select, text, update

from tests.factories import make_participants, make_study, make_workspace
from tests.plugins.scripted import ScriptedEnvironment
from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue
from understudy.domain.simulation import Action
from understudy.queue.celery.app import create_celery
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import Publisher
from understudy.settings import Settings
from understudy.store import dispatch, lifecycle, lineage, recovery
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables
from understudy.worker import committer
from understudy.worker.committer import Committer
from understudy.worker.heartbeat import LeaseKeeper
from understudy.worker.run import ClaimedRun, Run, RunResult, WorkerContext, _claim_batch
from understudy.worker.runner import Runner
from understudy.worker.watchdog import LoopMonitor, Watchdog

_p = Tables.participant


class Workshop:
    """A runner with everything around it, and a workspace to run participants of."""

    def __init__(self, settings: Settings, store: Store, folder: Path) -> None:
        self.store = store
        self.settings = settings
        self.log = folder / "steps.log"
        self.leaving = threading.Event()
        self.committer = Committer(store)
        self.publisher = Publisher(create_celery(settings.broker_url), store)
        self.notifier = Notifier(settings.notifications_url)
        self.keeper = LeaseKeeper(store, "test", ttl_s=5, interval_s=0.2)
        context = WorkerContext(self.committer, lambda: self.keeper.worker_id, self.leaving.is_set, True)
        self.runner = Runner(context, self.publisher, self.notifier)
        self.keeper.start(self.runner)
        self.workspace_id = make_workspace(store).workspace_id

    def close(self) -> None:
        self.runner.close()
        self.keeper.close()
        self.committer.close()
        self.publisher.close()
        self.notifier.close()

    def participant(self, max_interactions: int = 5, **details: Any) -> UUID:
        study = {name: details.pop(name) for name in ("success",) if name in details}
        settings = {name: details.pop(name) for name in ("step_timeout_s", "run_timeout_s", "mind") if name in details}
        content = {"log": str(self.log)} | details
        study_id, (iteration_id,) = make_study(self.store, self.workspace_id, content=content, **study, **settings)
        (id_,) = make_participants(
            self.store, self.workspace_id, study_id, iteration_id, max_interactions=max_interactions
        )
        return id_

    def run(self, id_: UUID) -> RunResult:
        return self.runner.submit(self.runner.run(id_)).result()

    def start(self, id_: UUID) -> "Started":
        return Started(self, id_)

    def row(self, id_: UUID) -> Any:
        with self.store.read() as connection:
            return connection.execute(select(_p).where(_p.c.id == id_)).one()

    def cancel(self, id_: UUID) -> None:
        self.store.write(lambda connection: lifecycle.cancel(connection, self.workspace_id, [id_]))

    def steps(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [" ".join(line.split()[:2]) for line in lines]


class Started:
    """A run in a thread of its own, as the pool has it."""

    def __init__(self, shop: Workshop, id_: UUID) -> None:
        self.ending: RunResult | None = None
        self._thread = threading.Thread(target=self._run, args=(shop, id_), daemon=True)
        self._thread.start()

    def _run(self, shop: Workshop, id_: UUID) -> None:
        self.ending = shop.run(id_)

    def ended(self) -> RunResult:
        self._thread.join(20)
        assert self.ending is not None, "the run did not end"
        return self.ending


@pytest.fixture
def shop(settings: Settings, store: Store, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(settings, store, tmp_path)
    yield made
    made.close()


# -- how runs end ------------------------------------------------------------------------------------------


def test_a_run_goes_to_its_cap(shop: Workshop) -> None:
    id_ = shop.participant(3)
    assert shop.run(id_) is RunResult.ENDED
    row = shop.row(id_)
    assert (row.status, row.outcome, row.interaction_count) == ("completed", "cap_reached", 3)


def test_success_is_checked_after_each_own_interaction_never_before_the_first(shop: Workshop) -> None:
    id_ = shop.participant(5, success={"url_contains": "scripted://page/"})
    shop.run(id_)
    row = shop.row(id_)
    assert (row.status, row.outcome, row.interaction_count) == ("completed", "succeeded", 1)


@pytest.mark.parametrize(("kind", "outcome"), [("give_up", "gave_up"), ("finish", None)])
def test_a_mind_may_end_a_run(shop: Workshop, kind: str, outcome: str | None) -> None:
    id_ = shop.participant(9, at={"2": kind})
    shop.run(id_)
    row = shop.row(id_)
    assert (row.status, row.outcome, row.interaction_count) == ("completed", outcome, 3)


@pytest.mark.parametrize(
    ("details", "kind", "message"),
    [
        ({"at": {"0": "unreachable"}}, "environment_error", "nothing answers there"),
        ({"at": {"1": "raise"}}, "simulator_error", "RuntimeError: the environment broke"),
        ({"at": {"1": "garbage"}}, "simulator_error", "must return Observation"),
        ({"at": {"1": "unstorable"}}, "simulator_error", "not JSON serializable"),
        ({"at": {"1": "infinite"}}, "simulator_error", "not JSON compliant"),
        ({"mind": "no such mind"}, "simulator_error", "no such mind"),
        ({"delay_s": 5, "step_timeout_s": 0.2}, "step_timeout", "longer than the 0.2 s allowed"),
        ({"delay_s": 0.2, "run_timeout_s": 0.5}, "run_timeout", "The run took longer than the 0.5 s allowed"),
    ],
)
def test_what_cannot_go_on_fails_and_says_why(shop: Workshop, details: dict[str, Any], kind: str, message: str) -> None:
    id_ = shop.participant(9, **details)
    assert shop.run(id_) is RunResult.ENDED
    row = shop.row(id_)
    assert (row.status, row.error_kind) == ("failed", kind)
    assert message in row.error_message


def test_a_duplicate_message_runs_nothing(shop: Workshop) -> None:
    id_ = shop.participant(3, delay_s=0.2)
    first, second = shop.start(id_), shop.start(id_)
    assert {first.ended(), second.ended()} == {RunResult.ENDED, RunResult.DROPPED}
    assert shop.row(id_).epoch == 1


def test_a_run_that_was_extended_goes_on_from_the_stored_state(shop: Workshop) -> None:
    id_ = shop.participant(2)
    shop.run(id_)
    child = shop.store.write(
        lambda connection: dispatch.insert_branch(connection, shop.workspace_id, id_, 2, "Turn left")
    )
    assert child is not None
    shop.run(child.id)
    assert shop.steps() == [
        *("open 0", "act 0", "acted 0", "act 1", "acted 1"),
        *("restore 2", "act 2", "acted 2", "act 3", "acted 3"),
    ]
    with shop.store.read() as connection:
        rows = lineage.interactions(connection, child.id, own=True, limit=9)
        state = lineage.load_checkpoint(connection, child.id)
    assert [row.thought for row in rows] == ["Told: Turn left"] * 2
    # Memory goes on; only the first own turn is told that it is one.
    assert state is not None
    assert state["memory"] == {"steps": 4, "resumed": False}


def test_one_that_is_taken_up_at_its_cap_is_done(shop: Workshop) -> None:
    id_ = shop.participant(1)
    shop.store.write(lambda connection: connection.execute(update(_p).values(interaction_count=0, max_interactions=0)))
    assert shop.run(id_) is RunResult.ENDED
    assert shop.row(id_).outcome == "cap_reached"


# -- how runs are taken away -------------------------------------------------------------------------------


def test_an_abort_cuts_the_step_in_flight_and_records_the_stop(shop: Workshop) -> None:
    id_ = shop.participant(9, delay_s=30)
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())
    shop.cancel(id_)
    began = time.monotonic()
    shop.runner.abort([id_])
    assert run.ended() is RunResult.STOPPED
    assert time.monotonic() - began < 5
    assert shop.steps()[-1] == "aborted 0"
    assert shop.row(id_).stopped_at is not None


def test_a_cancel_that_no_message_brings_comes_with_the_heartbeat(shop: Workshop) -> None:
    id_ = shop.participant(9, delay_s=30)
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())
    shop.cancel(id_)
    assert run.ended() is RunResult.STOPPED
    assert shop.row(id_).stopped_at is not None


def test_an_abort_of_what_was_not_cancelled_only_gives_it_back(shop: Workshop) -> None:
    id_ = shop.participant(9, delay_s=30)
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())
    shop.runner.abort([id_])
    assert run.ended() is RunResult.RELEASED
    wait_until(lambda: shop.publisher.queue_depth(Queue.RECOVERED) == 1)
    assert shop.row(id_).attempt == 0


def test_a_suspect_gives_its_place_back_after_one_interaction(shop: Workshop) -> None:
    """It got past what killed its worker, and others wait to run alone."""
    shop.runner._context = dataclasses.replace(shop.runner._context, quarantine=True)
    id_, short = shop.participant(9), shop.participant(1)
    assert shop.run(id_) is RunResult.RELEASED
    row = shop.row(id_)
    assert (row.status, row.interaction_count, row.attempt) == ("pending", 1, 0)
    assert row.queue == "simulations.recovered"
    assert shop.run(short) is RunResult.ENDED


def test_a_step_that_swallows_its_abort_still_stores_nothing(shop: Workshop) -> None:
    id_ = shop.participant(9, delay_s=1, at={"0": "swallow"})
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())
    shop.cancel(id_)
    shop.runner.abort([id_])
    assert run.ended() is RunResult.STOPPED
    assert "swallowed 0" in shop.steps()
    assert shop.row(id_).interaction_count == 0


def test_a_draining_process_stops_at_the_next_interaction(shop: Workshop) -> None:
    id_ = shop.participant(9, delay_s=0.2)
    run = shop.start(id_)
    wait_until(lambda: "act 1" in shop.steps())
    shop.leaving.set()
    assert run.ended() is RunResult.RELEASED
    row = shop.row(id_)
    assert (row.status, row.attempt) == ("pending", 0)
    assert row.interaction_count >= 2
    assert "aborted 1" not in shop.steps()


def test_a_process_whose_lease_ran_out_aborts_and_takes_a_new_one(shop: Workshop) -> None:
    id_ = shop.participant(9, delay_s=30)
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())
    lost = shop.keeper.worker_id

    def expire_and_recover(connection: Connection) -> None:
        # In one transaction: a heartbeat in between would find the expired lease, and the run releases itself.
        connection.execute(update(Tables.lease).values(expires_at=store_clock(-1)))
        recovery.recover_lost(connection, 3, 10)

    shop.store.write(expire_and_recover)
    assert run.ended() is RunResult.STOPPED
    wait_until(lambda: shop.keeper.worker_id != lost)
    assert shop.row(id_).status == "pending"
    quick = shop.participant(1)
    assert shop.run(quick) is RunResult.ENDED


def test_what_runs_here_but_nobody_runs_is_given_back(shop: Workshop) -> None:
    id_ = shop.participant()
    shop.store.write(lambda connection: lifecycle.claim(connection, id_, shop.keeper.worker_id))
    wait_until(lambda: shop.row(id_).status == Status.PENDING)
    assert shop.row(id_).attempt == 0


def test_a_claim_that_a_busy_loop_has_not_heard_of_is_not_given_back(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many that start at once, or a slow import, keep a loop for longer than two beats."""
    id_ = shop.participant(1)
    tell = committer._resolve_futures

    def tell_late(outcomes: list[Any]) -> None:
        time.sleep(1)
        tell(outcomes)

    monkeypatch.setattr(committer, "_resolve_futures", tell_late)
    assert shop.run(id_) is RunResult.ENDED
    assert (shop.row(id_).status, shop.row(id_).epoch, shop.row(id_).attempt) == ("completed", 1, 0)


def test_who_goes_gives_back_also_what_nobody_here_runs(shop: Workshop) -> None:
    """A claim whose answer came too late to be waited for: that costs no attempt either."""
    id_ = shop.participant()
    shop.keeper._stop.set()
    shop.store.write(lambda connection: lifecycle.claim(connection, id_, shop.keeper.worker_id))
    shop.keeper.close()
    shop.store.write(lambda connection: recovery.recover_lost(connection, 3, 10))
    assert (shop.row(id_).status, shop.row(id_).attempt) == ("pending", 0)


@pytest.mark.valkey("nobody is told, waiters look by themselves")
def test_whoever_waits_is_told(shop: Workshop) -> None:
    with redis.Redis.from_url(shop.settings.notifications_url) as client, client.pubsub() as listener:
        listener.subscribe("understudy.notices")
        id_ = shop.participant(1)
        shop.run(id_)
        told = wait_until(
            lambda: (message := listener.get_message(timeout=1)) and message["type"] == "message" and message
        )
    assert json.loads(told["data"]) == [str(id_)]


# -- the committer -----------------------------------------------------------------------------------------


def test_a_write_that_fails_does_not_take_others_with_it(shop: Workshop) -> None:
    """Thirty runs at once share transactions; the broken one of them fails alone."""
    good = [shop.participant(3) for _ in range(30)]
    bad = shop.participant(3, at={"1": "unstorable"})
    runs = [shop.start(id_) for id_ in (*good[:15], bad, *good[15:])]
    assert {run.ended() for run in runs} == {RunResult.ENDED}
    assert {shop.row(id_).status for id_ in good} == {"completed"}
    assert shop.row(bad).error_kind == "simulator_error"


def test_writes_that_share_a_transaction_are_made_in_id_order(shop: Workshop) -> None:
    """Two who lock the same rows in two orders would deadlock."""
    order: list[UUID] = []
    begun, busy = threading.Event(), threading.Event()

    def hold_the_committer(_: Connection) -> None:
        begun.set()
        busy.wait(10)

    async def write_many() -> None:
        first = asyncio.create_task(shop.committer.write(uuid4(), hold_the_committer, "step.commit"))
        assert await asyncio.to_thread(begun.wait, 10)
        others = [
            shop.committer.write(id_, lambda _, id_=id_: order.append(id_), "step.commit")
            for id_ in (uuid4() for _ in range(20))
        ]
        tasks = [asyncio.create_task(write) for write in others]
        await asyncio.sleep(0)  # each of them has handed in its write
        busy.set()
        await asyncio.gather(first, *tasks)

    asyncio.run(write_many())
    assert order == sorted(order)


def test_writes_of_several_kinds_lock_their_rows_in_id_order(shop: Workshop) -> None:
    """Those of one kind are made in one go, so the second kind's come after all of the first."""
    if shop.store.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite lets in one writer at a time")
    first, second, third = sorted(shop.participant() for _ in range(3))
    begun, busy = threading.Event(), threading.Event()

    def hold_the_committer(_: Connection) -> None:
        begun.set()
        busy.wait(10)

    def touch(connection: Connection, ids: Sequence[UUID]) -> list[None]:
        return [connection.execute(update(_p).where(_p.c.id == id_).values(seq=_p.c.seq)) and None for id_ in ids]

    def touch_too(connection: Connection, ids: Sequence[UUID]) -> list[None]:
        return touch(connection, ids)

    async def write_all() -> None:
        held = asyncio.create_task(shop.committer.write(uuid4(), hold_the_committer, "step.commit"))
        assert await asyncio.to_thread(begun.wait, 10)
        kinds = [(first, touch), (third, touch), (second, touch_too)]
        tasks = [
            asyncio.create_task(shop.committer.write_batched(id_, work, id_, "step.commit")) for id_, work in kinds
        ]
        await asyncio.sleep(0)  # each of them has handed in its write
        busy.set()
        await asyncio.gather(held, *tasks)

    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    locked = select(_p.c.id).with_for_update(nowait=True)
    with shop.store.engine.begin() as other:
        other.execute(locked.where(_p.c.id == second))
        writing = threading.Thread(target=asyncio.run, args=(write_all(),), daemon=True)
        writing.start()
        wait_until(lambda: other.scalar(waits))
        # It waits for the second; the third is still anybody's.
        other.execute(locked.where(_p.c.id == third))
    writing.join(20)
    assert not writing.is_alive()


def test_runs_that_are_claimed_in_one_go_each_have_their_own_answer(shop: Workshop) -> None:
    """Forty messages at once: of one participant twice, of one that was cancelled, of others for the first
    time, and of one with a past."""
    past = shop.participant(2)
    shop.run(past)
    child = shop.store.write(lambda connection: dispatch.insert_branch(connection, shop.workspace_id, past, 1, None))
    assert child is not None
    cancelled = shop.participant()
    shop.cancel(cancelled)
    fresh = [shop.participant(2) for _ in range(30)]
    ids = [*fresh, fresh[0], cancelled, child.id, past]

    async def take_all() -> list[ClaimedRun | RunResult]:
        runs = [Run(id_, shop.runner._context) for id_ in ids]
        runs[-5].claim_timed_out = True
        return shop.store.write(lambda connection: _claim_batch(connection, runs))

    *taken, twice, of_cancelled, of_child, of_past = asyncio.run(take_all())
    given_up = taken.pop()
    assert [claimed.row.id for claimed in taken if isinstance(claimed, ClaimedRun)] == fresh[:-1]
    assert {claimed.row.epoch for claimed in taken if isinstance(claimed, ClaimedRun)} == {1}
    assert (given_up, twice, of_cancelled, of_past) == (RunResult.REFUSED, *[RunResult.DROPPED] * 3)
    assert isinstance(of_child, ClaimedRun)
    assert of_child.state is not None
    assert [row.ordinal for row in of_child.history] == [0, 1]


def test_a_claim_that_takes_too_long_is_not_made_later(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would run it, and a process that goes would leave it behind."""
    id_ = shop.participant()

    def away(_: object) -> None:
        raise ServiceUnavailable("The store is away.")

    with monkeypatch.context() as patch:
        patch.setattr("understudy.worker.run.CLAIM_TIMEOUT_S", 0.3)
        patch.setattr(shop.store, "write", away)
        assert shop.run(id_) is RunResult.REFUSED
    # The committer goes through what waited, in order.
    assert shop.run(shop.participant(1)) is RunResult.ENDED
    assert (shop.row(id_).status, shop.row(id_).epoch) == ("pending", 0)


def test_a_process_that_goes_does_not_wait_for_ever_for_a_store_that_is_away(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_, later = shop.participant(9, delay_s=30), shop.participant(9)
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())

    def away(_: object) -> None:
        raise ServiceUnavailable("The store is away.")

    monkeypatch.setattr(shop.store, "write", away)
    shop.runner.abort_all()
    refused = shop.start(later)
    time.sleep(1)
    assert run.ending is refused.ending is None
    shop.committer.stop_retrying()
    assert run.ended() is RunResult.UNKNOWN
    assert refused.ended() is RunResult.REFUSED
    monkeypatch.undo()
    # Its lease is what tells others that nobody runs it.
    assert shop.row(id_).status == "running"


def test_a_lapsed_lease_aborts_the_steps_whatever_the_heartbeat_does(shop: Workshop) -> None:
    """It may hang in the store for minutes; by then somebody else has its participants."""
    run = shop.start(shop.participant(9, delay_s=30))
    wait_until(lambda: "act 0" in shop.steps())
    watch = Watchdog(shop.store, shop.keeper, shop.runner, lambda: None, loop_stall_s=30, max_memory_mb=0)
    try:
        time.sleep(1)
        assert "aborted 0" not in shop.steps()
        shop.keeper._stop.set()
        shop.keeper.lease_valid_until = time.monotonic()
        wait_until(lambda: "aborted 0" in shop.steps())
        assert run.ended() is RunResult.RELEASED
    finally:
        watch.close()


# -- the pulse ---------------------------------------------------------------------------------------------


def feel(pulse: LoopMonitor, for_s: float) -> float:
    """The longest that the loop seemed to be in one task, within so many seconds."""
    until, longest = time.monotonic() + for_s, 0.0
    while time.monotonic() < until:
        longest = max(longest, pulse.stalled_s())
        time.sleep(0.02)
    return longest


async def block(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point


def test_a_loop_that_is_busy_is_not_stuck(shop: Workshop) -> None:
    loop = shop.runner._loop
    for _ in range(20):
        asyncio.run_coroutine_threadsafe(block(0.1), loop)
    assert feel(LoopMonitor(loop), 2.5) < 1


def test_a_loop_that_stays_in_one_task_is_stuck_and_one_knows_whose_it_is(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripted.BLOCK_S", 1.5)
    other = shop.start(shop.participant(9, delay_s=30))
    id_ = shop.participant(2, at={"1": "block"})
    run = shop.start(id_)
    pulse = LoopMonitor(shop.runner.loop)
    wait_until(lambda: pulse.stalled_s() > 0.5)
    claim = shop.runner.claim_of(pulse.task)
    assert claim is not None
    assert claim.participant_id == id_
    assert run.ended() is RunResult.ENDED
    shop.runner.abort_all()
    other.ended()


def test_a_process_without_a_lease_leaves_messages_to_others(shop: Workshop) -> None:
    shop.keeper.close()
    id_ = shop.participant()
    assert shop.run(id_) is RunResult.REFUSED
    assert shop.row(id_).status == "pending"


class Stubborn(ScriptedEnvironment):
    """Takes no for an answer: a step of its never ends when told to, and closing it breaks."""

    async def act(self, action: Action) -> None:
        self._note("act")
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        raise RuntimeError("it does not close either")


class Tidy(ScriptedEnvironment):
    """Takes a moment to clean up after itself, as whoever closes a connection."""

    async def act(self, action: Action) -> None:
        self._note("act")
        try:
            await asyncio.sleep(30)
        finally:
            self._note("tidying")
            await asyncio.sleep(0.5)
            self._note("tidied")


@pytest.mark.parametrize("how", ["timeout", "abort"])
def test_a_step_that_was_told_to_end_cleans_up_however_often_its_run_is_aborted(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("scripted.ScriptedEnvironment", Tidy)
    id_ = shop.participant(9, step_timeout_s=0.3 if how == "timeout" else 60)
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())
    if how == "abort":
        shop.runner.abort([id_])
    wait_until(lambda: "tidying 0" in shop.steps())
    shop.runner.abort([id_])
    run.ended()
    assert shop.steps()[-1] == "tidied 0"


class Slow(ScriptedEnvironment):
    """Takes the first word for a mistake."""

    async def act(self, action: Action) -> None:
        self._note("act")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self._note("aborted")
            raise


@pytest.mark.parametrize("how", ["timeout", "abort"])
def test_a_step_that_did_not_end_in_time_is_told_once_more(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("scripted.ScriptedEnvironment", Slow)
    monkeypatch.setattr("understudy.worker.run.CLEANUP_TIMEOUT_S", 0.3)
    id_ = shop.participant(9, step_timeout_s=0.3 if how == "timeout" else 60)
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())
    if how == "abort":
        shop.runner.abort([id_])
    run.ended()
    wait_until(lambda: shop.steps()[-1] == "aborted 0", 10)


@pytest.mark.parametrize("how", ["timeout", "abort"])
def test_a_step_that_does_not_end_holds_nothing_up(shop: Workshop, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr("scripted.ScriptedEnvironment", Stubborn)
    monkeypatch.setattr("understudy.worker.run.CLEANUP_TIMEOUT_S", 0.3)
    id_ = shop.participant(9, step_timeout_s=0.3 if how == "timeout" else 60)
    run = shop.start(id_)
    wait_until(lambda: "act 0" in shop.steps())
    if how == "abort":
        shop.cancel(id_)
        shop.runner.abort([id_])
    began = time.monotonic()
    ending = run.ended()
    assert time.monotonic() - began < 10
    row = shop.row(id_)
    if how == "timeout":
        assert (ending, row.status, row.error_kind) == (RunResult.ENDED, "failed", "step_timeout")
    else:
        # Nobody knows that it has stopped, so nobody says so.
        assert (ending, row.status, row.stopped_at) == (RunResult.STOPPED, "cancelled", None)
