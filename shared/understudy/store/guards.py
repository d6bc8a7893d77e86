"""The guards of every write to a participant: its status, the claim that holds it, and its worker's lease.

Who comes second changes no row. The status guard comes from `TRANSITIONS`: a transition that is not in that
table cannot be written.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Update, and_, exists, select, update

from understudy.domain.lifecycle import TRANSITIONS, TransitionKind
from understudy.store import bulk_parameters
from understudy.store.engine import store_clock
from understudy.store.schema import Tables

_p = Tables.participant
_lease = Tables.lease


class Claim(NamedTuple):
    """The right to write for a participant, until somebody else claims it or it ends."""

    participant_id: UUID
    epoch: int


def transition(move: TransitionKind) -> Update:
    """The update that makes `move` from wherever it may start, and from nowhere else."""
    sources, target = TRANSITIONS[move]
    return (
        update(_p)
        .where(_p.c.status.in_([str(status) for status in sorted(sources)]))
        .values(status=str(target), seq=_p.c.seq + 1)
    )


def epoch_fence(claim: Claim) -> Any:
    """The fence of everything a run writes. The status is guarded by the move itself."""
    return and_(_p.c.id == claim.participant_id, _p.c.epoch == claim.epoch)


def lease_is_live(worker_id: Any) -> Any:
    """Is this worker's lease still good?"""
    return exists(select(1).where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock()))


def lock_in_id_order(connection: Connection, ids: Sequence[UUID]) -> None:
    """Lock these in id order, before statements that touch them in any other."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {bulk_parameters.IDS_PARAM: ids})


_LOCK = (
    select(_p.c.id)
    .where(bulk_parameters.in_parameter("postgresql", _p.c.id))
    .order_by(_p.c.id)
    # Keys do not change: who inserts rows that point here need not wait.
    .with_for_update(key_share=True)
)
