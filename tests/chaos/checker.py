"""Checks the rows of a cluster against each promise and each response that a client got."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, select

from tests.chaos.clients import ResponseLog, State
from tests.chaos.cluster import ClaimLoss, Outage
from tests.chaos.void_messages import VoidMessages, void_messages
from tests.invariants import all_events, check_invariants
from understudy.domain.lifecycle import TERMINAL
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant

#: Problems of one kind that the result lists.
MAX_PROBLEMS = 20
#: Within this time, a sweeper sees that a lease expired.
JUST_NOW = timedelta(seconds=5)

#: A sweeper needs these to notice a loss; the other parts are needed for the next claim.
TO_NOTICE = {"store", "store's lock", "sweeper"}
#: A recovery that waited for the quarantine worker.
QUARANTINE = "quarantine worker"


class Recovery(NamedTuple):
    """A participant was without a worker for a while."""

    #: Seconds from the loss until it was pending again, and until the next claim.
    noticed_s: float
    claimed_s: float
    #: Why it may have taken longer: what was unavailable. Empty: a slot was free.
    because: frozenset[str]
    participant_id: UUID
    epoch: int
    #: By the wall clock.
    lost_at: float
    #: Its events, each with the seconds since the loss.
    meanwhile: str


class CheckResult(NamedTuple):
    """`problems` is empty if each promise and each response holds."""

    participants: int
    interactions: int
    by_status: Mapping[str, int]
    failed: Mapping[str, int]
    #: Participants that a response named, and that do not exist or are not terminal.
    lost: int
    #: Participants that no request or more than one created.
    doubled: int
    #: Participants whose cancel was answered, and that were not cancelled by then.
    written_after_cancel: int
    recoveries: Sequence[Recovery]
    #: Losses without a measured recovery, by reason.
    left_out: Mapping[str, int]
    #: Recovered participants whose worker was not lost: its heartbeats were late.
    uncaused: Sequence[str]
    #: Of participants that have any.
    void_messages: Sequence[VoidMessages]
    problems: Sequence[str]


def check_history(
    store: Store,
    responses: ResponseLog,
    losses: Sequence[ClaimLoss],
    *,
    drained: Sequence[ClaimLoss] = (),
    outages: Sequence[Outage] = (),
    max_attempts: int = 3,
    may_fail: Collection[str] = ("stale_worker",),
    has_settled: bool = True,
    seen: Sequence[str] = (),
    incidents: Sequence[float] | None = None,
) -> CheckResult:
    """Checks everything. `has_settled`: all had time to end, so active participants are lost.

    `seen` are problems of the monitor. `incidents` are the times of all faults; None: does not count messages.
    """
    problems = _Problems([*responses.wrong, *seen])
    try:
        check_invariants(store)
    except AssertionError as broken:
        problems += [f"invariant: {broken}"]
    with store.read() as connection:
        # By id as in responses.
        rows = {str(row.id): row for row in connection.execute(select(_p))}
        interactions = connection.scalar(select(func.count()).select_from(Tables.interaction)) or 0
        events = all_events(connection)
        leases = connection.execute(select(Tables.lease)).all()
        keys = connection.execute(select(Tables.idempotency.c.key, Tables.idempotency.c.answer)).all()
    lost = [id_ for id_ in responses.ids if id_ not in rows]
    if has_settled:
        lost += [id_ for id_, row in rows.items() if row.status not in TERMINAL]
    problems += [f"lost: {id_} is {rows[id_].status if id_ in rows else 'not there'}" for id_ in lost]
    doubled = _doubled(rows, keys, responses)
    problems += doubled
    late = _cancelled_late(rows, responses)
    problems += late
    problems += _check_answers(rows, responses, has_settled=has_settled)
    by_participant = defaultdict(list)
    for event in events:
        by_participant[event.participant_id].append(event)
    lives = {id_: ParticipantHistory(history) for id_, history in by_participant.items()}
    failed = Counter(row.error_kind for row in rows.values() if row.error_kind)
    problems += [f"{count} failed: {kind}" for kind, count in failed.items() if kind not in may_fail]
    problems += _failed_without_losses(rows, lives, losses, max_attempts)
    problems += _recovered_from_drained(lives, losses, drained)
    recoveries, left_out = _recoveries(lives, losses, outages)
    void = [] if incidents is None else _void_messages(rows, by_participant, incidents)
    problems += [f"void messages: {one}" for one in void if one.is_too_many]
    return CheckResult(
        participants=len(rows),
        interactions=interactions,
        by_status=Counter(row.status for row in rows.values()),
        failed=failed,
        lost=len(lost),
        doubled=len(doubled),
        written_after_cancel=len(late),
        recoveries=recoveries,
        left_out=left_out,
        uncaused=_uncaused(lives, losses, leases),
        void_messages=void,
        problems=problems.shortened(),
    )


class _Problems(list[str]):
    """All problems; `shortened` lists the first few of each kind."""

    def shortened(self) -> list[str]:
        kinds: dict[str, list[str]] = defaultdict(list)
        for problem in self:
            kinds[problem.partition(":")[0]].append(problem)
        return [
            one
            for some in kinds.values()
            for one in (
                *some[:MAX_PROBLEMS],
                *([f"... and {len(some) - MAX_PROBLEMS} more"] if len(some) > MAX_PROBLEMS else []),
            )
        ]


def _void_messages(
    rows: Mapping[str, Any], events: Mapping[UUID, Sequence[Any]], incidents: Sequence[float]
) -> list[VoidMessages]:
    counted = [void_messages(row, events[row.id], incidents) for row in rows.values()]
    return [one for one in counted if one.count]


def _doubled(rows: Mapping[str, Any], keys: Sequence[Any], responses: ResponseLog) -> list[str]:
    """Each participant belongs to one request, and each request created its participants once."""
    made: Counter[str] = Counter(id_ for key in keys for id_ in key.answer["participant_ids"])
    answers = {key.key: key.answer["participant_ids"] for key in keys}
    problems = [f"doubled: {id_} belongs to {made[id_]} requests" for id_ in rows if made[id_] != 1]
    problems += [f"doubled: {id_} was answered and is not there" for id_ in made if id_ not in rows]
    problems += [f"doubled: key {key} was never sent" for key in answers if key not in responses.dispatched]
    problems += [f"doubled: key {key} was refused" for key in responses.refused if key in answers]
    problems += [
        f"doubled: key {key} was answered with {dispatch['participant_ids']}, kept is {answers.get(key)}"
        for key, dispatch in responses.dispatched.items()
        if dispatch and dispatch["participant_ids"] != answers.get(key)
    ]
    return problems


def _cancelled_late(rows: Mapping[str, Any], responses: ResponseLog) -> list[str]:
    """The status changed before the response; after the change, the invariants allow no write."""
    return [
        f"written after cancel: {id_} is {rows[id_].status} since {rows[id_].finished_at}, answered at {at}"
        for id_, at in responses.cancelled.items()
        if id_ in rows and (rows[id_].status != "cancelled" or rows[id_].finished_at.timestamp() > at)
    ]


def _check_answers(rows: Mapping[str, Any], responses: ResponseLog, *, has_settled: bool) -> Iterator[str]:
    for id_, at in responses.terminal.items():
        if id_ in rows and (rows[id_].status not in TERMINAL or rows[id_].finished_at.timestamp() > at):
            yield f"already_terminal: {id_} is {rows[id_].status} since {rows[id_].finished_at}"
    for id_, state in responses.states.items():
        if id_ in rows and state != State(*(getattr(rows[id_], name) for name in State._fields)):
            yield f"wait: {id_} was {state} and is {rows[id_].status}"
    for dispatch in filter(None, responses.dispatched.values()):
        yield from _check_dispatch(rows, dispatch)
    if has_settled:
        for id_, row in rows.items():
            if row.status == "cancelled" and row.stopped_at is None:
                yield f"stopped_at: not known of {id_}, cancelled at {row.finished_at}"


def _check_dispatch(rows: Mapping[str, Any], dispatch: Mapping[str, Any]) -> Iterator[str]:
    for id_, alias in zip(dispatch["participant_ids"], dispatch["aliases"], strict=True):
        row = rows.get(id_)
        if row is None:
            continue
        told = (alias, dispatch["max_interactions"])
        if told != (row.alias, row.max_interactions):
            yield f"dispatch: {id_} was answered as {told}"
        if (source_id := dispatch.get("extended_from")) is None:
            continue
        source = rows[source_id]
        if (
            str(row.extended_from) != source_id
            or dispatch["inherited_interactions"] != source.interaction_count
            or row.max_interactions <= source.max_interactions
        ):
            yield f"extend: {id_} does not go on where {source_id} ended: {dispatch}"


class ParticipantHistory:
    """A participant's events by claim."""

    def __init__(self, events: Sequence[Any]) -> None:
        #: Epoch -> its events until the next claim.
        self.epochs: dict[int, list[Any]] = defaultdict(list)
        epoch = 0
        for event in events:
            if event.data.get("status") == "running":
                epoch += 1
            self.epochs[epoch].append(event)

    @property
    def recovered(self) -> list[int]:
        """Epochs that a sweeper ended."""
        return [epoch for epoch, events in self.epochs.items() if any(map(_is_loss, events))]

    @property
    def in_a_row(self) -> int:
        """Losses since the last interaction."""
        count = 0
        for event in (event for events in self.epochs.values() for event in events):
            count = 0 if event.kind == "interaction" else count + _is_loss(event)
        return count


def _is_loss(event: Any) -> bool:
    return event.data.get("reason") == "lost" or event.data.get("error_kind") == "stale_worker"


def _failed_without_losses(
    rows: Mapping[str, Any],
    lives: Mapping[Any, ParticipantHistory],
    losses: Sequence[ClaimLoss],
    max_attempts: int,
) -> list[str]:
    """`stale_worker` needs as many lost workers in a row."""
    known = {(loss.participant_id, loss.epoch) for loss in losses}
    problems = []
    for id_, row in rows.items():
        if row.error_kind != "stale_worker":
            continue
        life = lives[row.id]
        caused = [epoch for epoch in life.recovered[-max_attempts:] if (row.id, epoch) in known]
        if life.in_a_row < max_attempts or len(caused) < max_attempts:
            problems.append(
                f"failed for nothing: {id_}: taken {life.in_a_row} times in a row, at epochs {life.recovered}, "
                f"of which {caused} had a cause"
            )
    return problems


def _recovered_from_drained(
    lives: Mapping[Any, ParticipantHistory], losses: Sequence[ClaimLoss], drained: Sequence[ClaimLoss]
) -> list[str]:
    """A drained worker releases all its runs; no attempt rises."""
    killed = {(loss.participant_id, loss.epoch) for loss in losses}
    return [
        f"drained: {one.participant_id} was left behind at epoch {one.epoch}"
        for one in drained
        if (one.participant_id, one.epoch) not in killed and one.epoch in lives[one.participant_id].recovered
    ]


def _uncaused(
    lives: Mapping[Any, "ParticipantHistory"], losses: Sequence[ClaimLoss], leases: Sequence[Any]
) -> list[str]:
    known = {(loss.participant_id, loss.epoch) for loss in losses}
    found = []
    for id_, life in lives.items():
        for epoch in life.recovered:
            if (id_, epoch) not in known:
                at = next(event.at for event in life.epochs[epoch] if _is_loss(event))
                ran_out = [one.name for one in leases if timedelta() <= at - one.expires_at <= JUST_NOW]
                found.append(f"{id_} at epoch {epoch}, {at}; leases that had just run out: {ran_out}")
    return found


def _recoveries(
    lives: Mapping[Any, ParticipantHistory], losses: Sequence[ClaimLoss], outages: Sequence[Outage]
) -> tuple[list[Recovery], Counter[str]]:
    """The time that each lost participant was without a worker.

    A worker that thaws in time continues to write; the first loss after its last write counts.
    """
    by_claim: dict[tuple[Any, int], list[float]] = defaultdict(list)
    for loss in losses:
        by_claim[loss.participant_id, loss.epoch].append(loss.at)
    recoveries, left_out = [], Counter[str]()
    for (participant_id, epoch), times in by_claim.items():
        life = lives[participant_id]
        written = [event for event in life.epochs[epoch] if event.kind == "interaction"]
        last = written[-1].at.timestamp() if written else 0
        at = min((time for time in times if time >= last), default=None)
        statuses = [event for event in life.epochs[epoch] if event.kind == "status"]
        # The claim, then perhaps its recovery or release, then perhaps its end.
        back = statuses[1] if len(statuses) > 1 else None
        ends = next((event.data["status"] for event in statuses if event.data["status"] in TERMINAL), None)
        if at is None:
            left_out["its holder came back in time"] += 1
        elif ends == "cancelled":
            left_out["cancelled before it was taken up again"] += 1
        elif ends == "failed":
            left_out["failed: lost too often"] += 1
        elif ends is not None:
            left_out["its holder had ended it already"] += 1
        elif back is None or epoch + 1 not in life.epochs:
            left_out["not taken up again yet"] += 1
        elif back.at.timestamp() < at:
            left_out["given back already"] += 1
        else:
            claimed = life.epochs[epoch + 1][0].at.timestamp()
            because = _because(back, at, claimed, outages)
            recoveries.append(
                Recovery(
                    back.at.timestamp() - at,
                    claimed - at,
                    because,
                    participant_id,
                    epoch,
                    at,
                    _meanwhile(life.epochs[epoch], at),
                )
            )
    return recoveries, left_out


def _meanwhile(events: Sequence[Any], lost_at: float) -> str:
    """The events of one claim, which may explain a slow recovery."""
    return ", ".join(
        f"{event.data.get('reason') or event.data.get('status') or event.kind} {event.at.timestamp() - lost_at:+.1f}"
        for event in events
    )


def _because(back: Any, lost_at: float, claimed_at: float, outages: Sequence[Outage]) -> frozenset[str]:
    """Returns the parts that were unavailable before the recovery, or between it and the next claim."""
    pending_at = back.at.timestamp()
    away = {
        one.what
        for one in outages
        if one.begin < claimed_at and one.end > (lost_at if one.what in TO_NOTICE else pending_at)
    }
    if back.data.get("attempt", 0) > 1:
        # The quarantine worker runs one at a time: it has no free slot for the next.
        away.add(QUARANTINE)
    return frozenset(away)
