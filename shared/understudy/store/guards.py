"""Guards of every write to a participant: its status, its claim's epoch, and its worker's lease.

A write that lost the race changes no row. The status guard comes from `TRANSITIONS`: a transition outside
that table cannot be written.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Update, and_, case, exists, or_, select, update

from understudy.domain.lifecycle import TRANSITIONS, TransitionKind
from understudy.domain.queues import QUARANTINE_ATTEMPT, Queue
from understudy.store import bulk_parameters
from understudy.store.engine import store_clock
from understudy.store.schema import Tables

_p = Tables.participant
_lease = Tables.lease


class Claim(NamedTuple):
    """The right to write for a participant, until a later claim or its terminal status."""

    participant_id: UUID
    epoch: int


def transition(kind: TransitionKind) -> Update:
    """Returns the update of a transition, guarded by the statuses in which it may start."""
    sources, target = TRANSITIONS[kind]
    return (
        update(_p)
        .where(_p.c.status.in_([str(status) for status in sorted(sources)]))
        .values(status=str(target), seq=_p.c.seq + 1)
    )


def epoch_fence(claim: Claim) -> Any:
    """Returns the fence of every write of a run. The transition itself guards the status."""
    return and_(_p.c.id == claim.participant_id, _p.c.epoch == claim.epoch)


def lease_is_live(worker_id: Any) -> Any:
    """Returns the condition that this worker's lease has not expired.

    A claim may be committed after the expiry; the next sweep recovers it. A write that takes rows away from
    their worker must end the lease first (`leases.end_expired`): a renewal may be in flight.
    """
    return exists(select(1).where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock()))


def is_published(*, has_number: bool) -> Any:
    """Returns the condition that a message of this participant may claim it; `has_number`: a message of ours.

    A participant that waits for its turn after an earlier message, or is paused, needs a new one: the earlier may
    still be in a queue.
    """
    if has_number:
        # A row without a message is claimed by none: that one is forged.
        return _p.c.dispatched_at.is_not(None)
    return or_(_p.c.dispatched_at.is_not(None), _p.c.dispatch_no == 0)


def is_unheld(ended: Sequence[UUID]) -> Any:
    """Returns the condition that no worker holds the row: its lease is one of `ended`, or there is none."""
    return or_(_p.c.worker_id.in_(ended), ~exists(select(1).where(_lease.c.id == _p.c.worker_id)))


def queue_of(attempt: Any, otherwise: Any) -> Any:
    """Returns the queue of a participant with `attempt` losses: quarantine for a suspect, else `otherwise`.

    Everything that sets the queue of an existing row uses it: a suspect in another queue would run among others.
    """
    return case((attempt >= QUARANTINE_ATTEMPT, str(Queue.QUARANTINE)), else_=otherwise)


def lock_in_id_order(connection: Connection, ids: Sequence[UUID]) -> None:
    """Locks these rows in id order, before statements that update them in another order."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {bulk_parameters.IDS_PARAM: ids})


_LOCK = (
    select(_p.c.id)
    .where(bulk_parameters.in_parameter("postgresql", _p.c.id))
    .order_by(_p.c.id)
    # Keys do not change, so inserts that refer to these rows need not wait.
    .with_for_update(key_share=True)
)
