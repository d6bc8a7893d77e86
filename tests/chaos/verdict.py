"""What became of a town: every answer that a client got, and every promise, held against the rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select

from shared.domain.lifecycle import TERMINAL
from shared.store.engine import Store
from shared.store.schema import Tables
from tests.chaos.clients import Ledger
from tests.chaos.villain import Loss
from tests.invariants import check_invariants

_p = Tables.participant
_event = Tables.event


class Verdict(NamedTuple):
    participants: int
    interactions: int
    #: Answered with an id, and not there or not terminal.
    lost: int
    #: Participants that no answer and no unanswered request accounts for.
    doubled: int
    #: Answered as cancelled, and not cancelled, or with something stored after it.
    written_after_cancel: int
    #: Seconds from the loss of a worker until somebody else ran its participants.
    recoveries: Sequence[float]
    problems: Sequence[str]


def judge(store: Store, ledger: Ledger, losses: Sequence[Loss]) -> Verdict:
    """Look at everything; AssertionError when an invariant is broken."""
    check_invariants(store)
    with store.read() as connection:
        rows = {str(row.id): row for row in connection.execute(select(_p))}
        interactions = connection.scalar(select(func.count()).select_from(Tables.interaction)) or 0
        events = connection.execute(select(_event).order_by(_event.c.participant_id, _event.c.seq)).all()
    problems = list(ledger.wrong)
    answered = set(ledger.ids)
    lost = [id_ for id_ in answered if id_ not in rows or rows[id_].status not in TERMINAL]
    problems += [f"lost: {id_} is {rows[id_].status if id_ in rows else 'not there'}" for id_ in lost]
    doubled = _doubled(rows, ledger, problems)
    wrong = [id_ for id_ in ledger.cancelled if rows[id_].status != "cancelled"]
    problems += [f"{id_} was answered as cancelled and is {rows[id_].status}" for id_ in wrong]
    problems += [
        f"{child} does not come from {source}"
        for child, source in ledger.extended.items()
        if str(rows[child].extended_from) != source
    ]
    return Verdict(
        len(rows), interactions, len(lost), doubled, len(wrong), _recoveries(events, losses), problems
    )


def _doubled(rows: dict[str, Any], ledger: Ledger, problems: list[str]) -> int:
    """Each key dispatched once: what was not answered may be there once, not more."""
    answered = ledger.ids
    twice = len(answered) - len(set(answered))
    unknown = len(rows.keys() - set(answered))
    allowed = sum(ledger.unanswered.values())
    if twice or unknown > allowed:
        problems.append(f"{twice} ids answered for two keys, {unknown} unaccounted for ({allowed} allowed)")
    return twice + max(unknown - allowed, 0)


def _recoveries(events: Sequence[Any], losses: Sequence[Loss]) -> list[float]:
    """How long each lost participant was without anybody, if it had to be taken up again.

    Measured from the last loss of its holder; without those that ended before they were missed (cancelled,
    or a frozen worker that thawed in time).
    """
    last: dict[tuple[Any, int], float] = {(loss.participant_id, loss.epoch): loss.at for loss in losses}
    claims: dict[Any, list[float]] = {}
    for event in events:
        if event.kind == "status" and event.data["status"] == "running":
            claims.setdefault(event.participant_id, []).append(event.at.timestamp())
    times = []
    for (participant_id, epoch), at in last.items():
        made = claims.get(participant_id, [])
        # The claim with the next epoch, if there was one.
        if len(made) > epoch and made[epoch] > at:
            times.append(made[epoch] - at)
    return sorted(times)
