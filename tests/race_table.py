"""The table of races: for each order of competing writes, which of them succeed and how the row ends."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, select, update

from tests.factories import StudyStore, make_ask, make_lease, make_step
from understudy.domain.lifecycle import FailureKind, Outcome
from understudy.domain.queues import Queue
from understudy.sequencer import assign_positions
from understudy.store import asks, dispatch, leases, lifecycle, prune, recovery, stops, window
from understudy.store.engine import Store, store_clock, store_time
from understudy.store.guards import Claim
from understudy.store.schema import Tables

_p, _lease, _ask = Tables.participant, Tables.lease, Tables.ask


class Scene:
    """One participant in a state, with what the writes of a race need."""

    def __init__(self, store: Store, state: str) -> None:
        self.study = study = StudyStore(store, uuid4().hex)
        self.worker_id, self.other_worker_id = make_lease(store), make_lease(store)
        self.id_: UUID = study.participants()[0]
        self.claim = Claim(self.id_, 1)
        self.ask_id: UUID | None = None
        STATES[state](self)

    def start(self) -> None:
        # In quarantine, where participants that were lost often run too.
        self.claim = self.study.must_claim(self.id_, self.worker_id, quarantine=True)

    def lose(self) -> None:
        self.start()
        self.study.expire_lease(self.worker_id)

    def lose_often(self) -> None:
        for _ in range(2):
            self.requeue()
            self.worker_id = make_lease(self.study.store)
        self.lose()

    def requeue(self) -> None:
        self.lose()
        assert self.study.recover() == [self.id_]

    def cancel(self) -> None:
        self.start()
        self.study.cancel(self.id_)

    def abandon(self) -> None:
        self.cancel()
        self.study.expire_lease(self.worker_id)

    def complete(self) -> None:
        self.start()
        self.study.write(lifecycle.complete, self.claim, Outcome.SUCCEEDED, 1)
        # Nothing of it is pending: its events have positions, and another participant has the newest event.
        assign_positions(self.study.store)
        self.study.participants()
        assign_positions(self.study.store)

    def ask(self) -> None:
        self.ask_id, rounds = make_ask(self.study.store, self.study.workspace_id, rounds=asks.MAX_ROUNDS - 2, each=1)
        self.id_ = rounds[0][0]

    def view(self) -> dict[str, Any]:
        """Returns what a race may change."""
        with self.study.store.read() as connection:
            row = connection.execute(select(_p).where(_p.c.id == self.id_)).one_or_none()
            children = connection.scalar(select(func.count()).where(_p.c.extended_from == self.id_))
            rounds = connection.scalar(select(_ask.c.round_count).where(_ask.c.id == self.ask_id))
        if row is None:
            return {"status": "gone"}
        workers = {self.worker_id: "first", self.other_worker_id: "other", None: None}
        return {
            "status": row.status,
            "epoch": row.epoch,
            "attempt": row.attempt,
            "steps": row.interaction_count,
            "messages": row.dispatch_no,
            "queue": Queue(row.queue).name.lower(),
            "outcome": row.outcome,
            "error_kind": row.error_kind,
            "worker": workers[row.worker_id],
            "stopped": row.stopped_at is not None,
            "children": children,
            "rounds": rounds,
        }


STATES: dict[str, Callable[[Scene], object]] = {
    "pending": lambda scene: None,
    "running": Scene.start,
    #: Its lease has expired.
    "lost": Scene.lose,
    #: For the third time in a row.
    "lost often": Scene.lose_often,
    #: It is pending again, and its first run still has the old claim.
    "requeued": Scene.requeue,
    "cancelled": Scene.cancel,
    #: Cancelled, and the lease of its worker has expired.
    "abandoned": Scene.abandon,
    "completed": Scene.complete,
    #: Of an ask that has two rounds left.
    "asked": Scene.ask,
}


def _renew_in_time(scene: Scene, connection: Connection) -> bool:
    """Renews a lease that expires right after the statement: other transactions see the expired one."""
    in_time = update(_lease).where(_lease.c.id == scene.worker_id).values(expires_at=store_clock(1))
    connection.execute(in_time)
    return leases.renew_lease(connection, scene.worker_id, 60)


def _expire(scene: Scene, connection: Connection) -> bool:
    leases.expire_lease(connection, scene.worker_id)
    return True


def _recover(scene: Scene, connection: Connection) -> bool:
    lost = recovery.recover_lost(connection, 3, 100)
    return bool(lost.resumed or lost.failed)


def _prune(scene: Scene, connection: Connection) -> object:
    ended = prune.RetentionFilter(scene.study.workspace_id, store_time(connection) + timedelta(days=1))
    return prune.prune(connection, ended, [scene.id_], (), dry_run=False).removed


def _open_round(scene: Scene, connection: Connection) -> bool:
    assert scene.ask_id
    number = asks.open_round(connection, scene.ask_id)
    if number is not None:
        asks.insert_round(connection, scene.ask_id, number, question="Which one?", variants=["This."])
    return number is not None


_LAST = make_step(0, ends=True, outcome=Outcome.SUCCEEDED)

#: Each returns whether it wrote something.
WRITES: dict[str, Callable[[Scene, Connection], object]] = {
    "claim": lambda it, connection: lifecycle.claim(connection, it.id_, it.worker_id),
    "other_claim": lambda it, connection: lifecycle.claim(connection, it.id_, it.other_worker_id),
    "commit": lambda it, connection: lifecycle.commit_step(connection, it.claim, make_step(0), 1),
    "last_commit": lambda it, connection: lifecycle.commit_step(connection, it.claim, _LAST, 1),
    "complete": lambda it, connection: lifecycle.complete(connection, it.claim, Outcome.SUCCEEDED, 1),
    "fail": lambda it, connection: lifecycle.fail(connection, it.claim, FailureKind.STEP_TIMEOUT, "slow", 1),
    "release": lambda it, connection: lifecycle.release(connection, it.claim, 1),
    "cancel": lambda it, connection: lifecycle.cancel(connection, it.study.workspace_id, [it.id_]),
    "extend": lambda it, connection: dispatch.insert_branch(connection, it.study.workspace_id, it.id_, 5, None),
    "reserve": lambda it, connection: window.refill(connection, 9).messages,
    "renew": lambda it, connection: leases.renew_lease(connection, it.worker_id, 60),
    "renew_in_time": _renew_in_time,
    "expire": _expire,
    "recover": _recover,
    "run_stop": lambda it, connection: stops.record_stop(connection, it.id_, claim=it.claim),
    "task_stop": lambda it, connection: stops.record_stop(connection, it.id_),
    "sweep_stop": lambda it, connection: stops.record_stops(connection, 60, 100),
    "prune": _prune,
    "round": _open_round,
}


class Order(NamedTuple):
    """Competing writes in the order of their commits, and the only outcome."""

    state: str
    writes: tuple[str, ...]
    #: `+` for each write that succeeds, `-` for each that finds nothing to write.
    results: str
    #: The values that differ from the initial state.
    changes: Mapping[str, Any]
    #: How the second write behaves on PostgreSQL while the first transaction is open. It `waits` for it. Or it `skips`
    #: its rows: a repeat after the commit must have the outcome. Or it `passes`: neither concerns the other. Or it
    #: `overtakes`: the outcome is that of the opposite order. `waits|skips` allows both.
    overlap: str

    def __str__(self) -> str:
        return f"{self.state}: {' '.join(self.writes)}"


def _order(state: str, writes: str, results: str, *changes: Mapping[str, Any], overlap: str = "waits") -> Order:
    names = tuple(writes.split())
    merged = {name: value for change in changes for name, value in change.items()}
    return Order(state, names, results, merged, overlap)


CLAIMED = {"status": "running", "epoch": 1, "worker": "first"}
CLAIMED_BY_OTHER = CLAIMED | {"worker": "other"}
#: Of a participant that was running.
TAKEN_OVER = {"epoch": 2, "worker": "other", "attempt": 1, "queue": "recovered"}
RESERVED = {"messages": 1}
CANCELLED = {"status": "cancelled"}
STEP = {"steps": 1}
COMPLETED = {"status": "completed", "outcome": "succeeded"}
FAILED = {"status": "failed", "error_kind": "step_timeout"}
RELEASED = {"status": "pending", "worker": None, "queue": "recovered"}
RECOVERED = RELEASED | {"attempt": 1}
STALE = {"status": "failed", "error_kind": "stale_worker", "attempt": 3}
STOPPED = {"stopped": True}
EXTENDED = {"children": 1}
GONE = {"status": "gone"}
#: Writes of a run, and what they change.
RUN_WRITES = {
    "commit": STEP,
    "last_commit": COMPLETED | STEP,
    "complete": COMPLETED,
    "fail": FAILED,
    "release": RELEASED,
}
RUN_ENDS = {name: changes for name, changes in RUN_WRITES.items() if name in {"last_commit", "complete", "fail"}}

ORDERS = [
    # Alone, each write has this result; also if another one is rolled back.
    _order("pending", "claim", "+", CLAIMED),
    _order("pending", "other_claim", "+", CLAIMED_BY_OTHER),
    _order("pending", "cancel", "+", CANCELLED),
    _order("pending", "reserve", "+", RESERVED),
    _order("pending", "expire", "+"),
    *(_order("running", write, "+", changes) for write, changes in RUN_WRITES.items()),
    _order("running", "cancel", "+", CANCELLED),
    _order("running", "extend", "-"),
    _order("running", "run_stop", "-"),
    *(_order("lost", write, "+", changes) for write, changes in RUN_WRITES.items()),
    _order("lost", "cancel", "+", CANCELLED),
    _order("lost", "recover", "+", RECOVERED),
    _order("lost", "renew", "-"),
    _order("lost", "renew_in_time", "+"),
    _order("lost", "other_claim", "-"),
    _order("lost", "task_stop", "-"),
    _order("lost", "sweep_stop", "-"),
    _order("lost often", "commit", "+", STEP, {"attempt": 0}),
    _order("lost often", "cancel", "+", CANCELLED),
    _order("lost often", "recover", "+", STALE),
    *(_order("requeued", write, "-") for write in RUN_WRITES),
    _order("requeued", "other_claim", "+", CLAIMED_BY_OTHER, {"epoch": 2}),
    _order("cancelled", "run_stop", "+", STOPPED),
    _order("cancelled", "task_stop", "-"),
    *(_order("abandoned", write, "+", STOPPED) for write in ("run_stop", "task_stop", "sweep_stop")),
    _order("completed", "extend", "+", EXTENDED),
    _order("completed", "prune", "+", GONE),
    _order("asked", "round", "+", {"rounds": 4}),
    # Claims.
    _order("pending", "claim cancel", "++", CLAIMED, CANCELLED),
    _order("pending", "cancel claim", "+-", CANCELLED),
    _order("pending", "other_claim cancel", "++", CLAIMED_BY_OTHER, CANCELLED),
    _order("pending", "claim other_claim", "+-", CLAIMED),
    _order("pending", "other_claim claim", "+-", CLAIMED_BY_OTHER),
    _order("pending", "claim other_claim cancel", "+-+", CLAIMED, CANCELLED),
    _order("pending", "claim expire", "++", CLAIMED, overlap="passes"),
    # The next sweep recovers it.
    _order("pending", "expire claim", "+-", overlap="overtakes"),
    # Messages.
    _order("pending", "reserve reserve", "+-", RESERVED),
    _order("pending", "reserve claim", "++", RESERVED, CLAIMED),
    _order("pending", "claim reserve", "+-", CLAIMED, overlap="skips"),
    _order("pending", "reserve cancel", "++", RESERVED, CANCELLED),
    _order("pending", "cancel reserve", "+-", CANCELLED, overlap="skips"),
    # Writes of a run and its cancel.
    _order("running", "commit cancel", "++", STEP, CANCELLED),
    _order("running", "release cancel", "++", RELEASED, CANCELLED),
    *(_order("running", f"{end} cancel", "+-", changes) for end, changes in RUN_ENDS.items()),
    *(_order("running", f"cancel {write}", "+-", CANCELLED) for write in RUN_WRITES),
    _order("running", "cancel cancel", "+-", CANCELLED),
    _order("pending", "cancel cancel", "+-", CANCELLED),
    _order("running", "cancel run_stop", "++", CANCELLED, STOPPED, overlap="skips"),
    _order("running", "run_stop cancel", "-+", CANCELLED, overlap="passes"),
    # A repeat after a commit in doubt is a success.
    _order("running", "commit commit", "++", STEP),
    _order("running", "complete fail", "+-", COMPLETED),
    _order("running", "fail complete", "+-", FAILED),
    # Extends.
    _order("running", "cancel extend", "++", CANCELLED, EXTENDED, overlap="skips"),
    _order("running", "extend cancel", "-+", CANCELLED, overlap="passes"),
    _order("running", "commit extend", "+-", STEP, overlap="skips"),
    _order("running", "extend commit", "-+", STEP, overlap="passes"),
    _order("running", "commit cancel extend", "+++", STEP, CANCELLED, EXTENDED, overlap="waits"),
    _order("running", "commit extend cancel", "+-+", STEP, CANCELLED, overlap="skips"),
    _order("running", "cancel commit extend", "+-+", CANCELLED, EXTENDED, overlap="waits"),
    _order("running", "cancel extend commit", "++-", CANCELLED, EXTENDED, overlap="skips"),
    _order("running", "extend commit cancel", "-++", STEP, CANCELLED, overlap="passes"),
    _order("running", "extend cancel commit", "-+-", CANCELLED, overlap="passes"),
    _order("completed", "extend extend", "++", {"children": 2}),
    _order("completed", "extend prune", "+-", EXTENDED, overlap="skips"),
    _order("completed", "prune extend", "+-", GONE),
    _order("completed", "prune prune", "+-", GONE, overlap="skips"),
    # Recovery: it never waits for a locked row; the next sweep repeats it.
    _order("lost", "recover recover", "+-", RECOVERED, overlap="skips"),
    *(_order("lost", f"recover {write}", "+-", RECOVERED) for write in RUN_WRITES),
    *(_order("lost", f"{end} recover", "+-", changes, overlap="skips") for end, changes in RUN_ENDS.items()),
    _order("lost", "release recover", "+-", RELEASED, overlap="skips"),
    _order("lost", "commit recover", "++", STEP, RECOVERED, overlap="skips"),
    _order("lost", "recover cancel", "++", RECOVERED, CANCELLED),
    _order("lost", "cancel recover", "+-", CANCELLED, overlap="skips"),
    _order("lost", "recover other_claim", "++", TAKEN_OVER, overlap="skips"),
    _order("lost", "other_claim recover", "-+", RECOVERED, overlap="passes"),
    _order("lost", "other_claim commit", "-+", STEP, overlap="passes"),
    _order("lost", "commit other_claim", "+-", STEP, overlap="skips"),
    _order("lost", "recover other_claim commit", "++-", TAKEN_OVER, overlap="skips"),
    _order("lost", "recover commit other_claim", "+-+", TAKEN_OVER, overlap="waits"),
    _order("lost", "commit recover other_claim", "+++", STEP, TAKEN_OVER, overlap="skips"),
    _order("lost", "recover renew", "+-", RECOVERED, overlap="waits|skips"),
    _order("lost", "renew recover", "-+", RECOVERED, overlap="passes"),
    _order("lost", "renew_in_time recover", "+-", overlap="waits|skips"),
    _order("lost often", "recover cancel", "+-", STALE),
    _order("lost often", "cancel recover", "+-", CANCELLED, overlap="skips"),
    _order("lost often", "recover commit", "+-", STALE),
    _order("lost often", "commit recover", "++", STEP, RECOVERED, overlap="skips"),
    # Writes of an old epoch: the claim of a new one has taken the row over.
    *(
        _order("requeued", f"other_claim {write}", "+-", CLAIMED_BY_OTHER, {"epoch": 2}, overlap="skips")
        for write in RUN_WRITES
    ),
    *(
        _order("requeued", f"{write} other_claim", "-+", CLAIMED_BY_OTHER, {"epoch": 2}, overlap="passes")
        for write in RUN_WRITES
    ),
    # Stops.
    _order("lost", "cancel task_stop", "++", CANCELLED, STOPPED, overlap="skips"),
    _order("lost", "task_stop cancel", "-+", CANCELLED, overlap="passes"),
    _order("lost", "cancel sweep_stop", "++", CANCELLED, STOPPED, overlap="skips"),
    _order("lost", "sweep_stop cancel", "-+", CANCELLED, overlap="passes"),
    _order("cancelled", "run_stop task_stop", "+-", STOPPED, overlap="skips"),
    _order("cancelled", "task_stop run_stop", "-+", STOPPED, overlap="passes"),
    _order("abandoned", "run_stop task_stop", "+-", STOPPED),
    _order("abandoned", "task_stop run_stop", "+-", STOPPED),
    _order("abandoned", "task_stop task_stop", "+-", STOPPED),
    _order("abandoned", "run_stop sweep_stop", "+-", STOPPED, overlap="skips"),
    _order("abandoned", "sweep_stop run_stop", "+-", STOPPED),
    _order("abandoned", "sweep_stop sweep_stop", "+-", STOPPED, overlap="skips"),
    # Rounds: each call opens another one, until the ask has all.
    _order("asked", "round round", "++", {"rounds": 5}),
    _order("asked", "round round round", "++-", {"rounds": 5}),
]
