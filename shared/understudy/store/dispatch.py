"""Making participants, and owning the publication of their run messages.

A participant is dispatched once its row is committed as pending: the message only makes a worker look sooner,
and the sweeper sends it again when it is owed or gone.
"""

import random
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from understudy.domain.ids import Kind
from understudy.domain.lifecycle import TERMINAL, Status
from understudy.domain.queues import QUEUE_PRIORITY, Queue, task_id
from understudy.store import bulk_parameters
from understudy.store.aliases import assign_aliases
from understudy.store.engine import AnyRow, store_clock, store_time
from understudy.store.events import NewEvent, record, record_bulk
from understudy.store.schema import Tables

_p = Tables.participant


class RunMessage(NamedTuple):
    """A participant's latest run message, and how people on the broker's side are to see it."""

    participant_id: UUID
    dispatch_no: int
    queue: str
    alias: str
    study_alias: str | None
    ask_alias: str | None

    @property
    def task_id(self) -> str:
        return task_id(self.participant_id, self.dispatch_no)

    @property
    def description(self) -> str:
        parent = f"study={self.study_alias}" if self.study_alias else f"ask={self.ask_alias}"
        return f"participant={self.alias} {parent}"


def insert_participants(
    connection: Connection,
    workspace_id: UUID,
    person_ids: Sequence[UUID],
    *,
    study_id: UUID | None = None,
    iteration_id: UUID | None = None,
    ask_id: UUID | None = None,
    round_number: int | None = None,
    max_interactions: int,
    seed: int | Sequence[int],
    status: Status = Status.PENDING,
) -> dict[UUID, str]:
    """One participant per person, in that order; their ids, which ascend, with their aliases.

    Their seeds follow from `seed`, or are these, one for each.
    """
    # In order, as lists have them: those made together then lie together, and are cancelled page by page.
    ids = sorted(uuid4() for _ in person_ids)
    aliases = assign_aliases(connection, workspace_id, Kind.PARTICIPANT, ids)
    if isinstance(seed, int):
        chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
        seed = [chance.getrandbits(31) for _ in ids]
    rows = [
        {"id": id_.hex, "alias": aliases[id_], "person_id": person_id.hex, "seed": own_seed}
        for id_, person_id, own_seed in zip(ids, person_ids, seed, strict=True)
    ]
    same_for_all = {
        "workspace_id": workspace_id,
        "study_id": study_id,
        "iteration_id": iteration_id,
        "ask_id": ask_id,
        "round": round_number,
        "status": str(status),
        "queue": str(Queue.RUNS),
        "max_interactions": max_interactions,
        "epoch": 0,
        "seq": 1,
        "attempt": 0,
        "claimed_ms": 0,
        "dispatch_no": 0,
        "interaction_count": 0,
        "branched_at": 0,
        "instruction_is_own": False,
        # As a value: what is inserted together is of one age.
        "created_at": (now := store_time(connection)),
        "pending_since": now,
    }
    if rows:
        given = bulk_parameters.rows_parameter(
            connection.dialect.name, _p.c.id, _p.c.alias, _p.c.person_id, _p.c.seed
        )
        same = [bindparam(name, type_=_p.c[name].type) for name in same_for_all]
        statement = insert(_p).from_select([*given.c.keys(), *same_for_all], select(*given.c, *same))
        connection.execute(statement, {**bulk_parameters.parameter(rows), **same_for_all})
        record_bulk(connection, ids, "status", {"status": str(status)}, via_outbox=True)
    return aliases


def insert_branch(
    connection: Connection,
    workspace_id: UUID,
    source_id: UUID,
    additional_steps: int,
    instruction: str | None,
) -> AnyRow | None:
    """Make a pending participant that goes on where `source_id` ended. None unless that one is there and
    terminal.

    The child points at its source and the index it branched at; nothing of the history is copied, so the cost
    does not depend on it. One statement decides: a source that is not terminal has no child.
    """
    id_ = uuid4()
    alias = assign_aliases(connection, workspace_id, Kind.PARTICIPANT, [id_])[id_]
    child = {
        _p.c.id: literal(id_, _p.c.id.type),
        _p.c.workspace_id: _p.c.workspace_id,
        _p.c.alias: literal(alias),
        _p.c.person_id: _p.c.person_id,
        _p.c.study_id: _p.c.study_id,
        _p.c.iteration_id: _p.c.iteration_id,
        _p.c.ask_id: _p.c.ask_id,
        _p.c.round: _p.c.round,
        _p.c.status: literal(str(Status.PENDING)),
        _p.c.epoch: literal(0),
        _p.c.seq: literal(1),
        _p.c.attempt: literal(0),
        _p.c.claimed_ms: literal(0),
        _p.c.queue: literal(str(Queue.RESUME)),
        _p.c.dispatch_no: literal(0),
        _p.c.seed: _p.c.seed,
        _p.c.max_interactions: _p.c.max_interactions + additional_steps,
        _p.c.interaction_count: _p.c.interaction_count,
        _p.c.extended_from: _p.c.id,
        _p.c.branched_at: _p.c.interaction_count,
        _p.c.instruction: _p.c.instruction if instruction is None else literal(instruction),
        _p.c.instruction_is_own: literal(instruction is not None),
        _p.c.created_at: store_clock(),
        _p.c.pending_since: store_clock(),
    }
    source = (
        select(*child.values())
        .where(
            _p.c.id == source_id,
            _p.c.workspace_id == workspace_id,
            _p.c.status.in_([str(status) for status in sorted(TERMINAL)]),
        )
        # As its foreign key will; but one that is being removed is waited for here, and then not found.
        .with_for_update(read=True, key_share=True)
    )
    statement = insert(_p).from_select([column.name for column in child], source).returning(_p)
    row = connection.execute(statement).one_or_none()
    if row is not None:
        data = {"status": str(Status.PENDING), "extended_from": str(source_id)}
        record(connection, [NewEvent(id_, 1, "status", data)])
    return row


def reserve_messages(
    connection: Connection, ids: Sequence[UUID], *, republish_before: datetime | None = None
) -> list[RunMessage]:
    """Take the publication of run messages owed to pending participants among `ids`.

    Owed: never sent since the row became pending; with `republish_before`, also when sent before that
    moment. Two who ask at once get disjoint answers. The caller publishes exactly what it got.
    """
    # The function keeps SQLite from the index of all that is owed: after a large run it would go through all
    # of them for each few.
    unsent: ColumnElement[bool] = func.coalesce(_p.c.dispatched_at, null()).is_(None)
    if republish_before is not None:
        unsent = or_(unsent, _p.c.dispatched_at < republish_before)
    owed = and_(_p.c.status == str(Status.PENDING), unsent)
    among = bulk_parameters.in_parameter(connection.dialect.name, _p.c.id)
    pending = select(_p.c.id).where(among, owed).order_by(_p.c.id).with_for_update(skip_locked=True)
    taken = (
        update(_p)
        .where(among, owed)
        .values(dispatched_at=store_clock(), dispatch_no=_p.c.dispatch_no + 1)
        .returning(_p.c.id)
    )
    locked = connection.scalars(pending, {bulk_parameters.IDS_PARAM: ids}).all()
    return load_messages(connection, connection.scalars(taken, {bulk_parameters.IDS_PARAM: locked}).all())


def load_messages(connection: Connection, ids: Sequence[UUID]) -> list[RunMessage]:
    """The latest run message of each of `ids`, in order of creation."""
    study, ask = Tables.study, Tables.ask
    statement = (
        select(_p.c.id, _p.c.dispatch_no, _p.c.queue, _p.c.alias, study.c.alias, ask.c.alias)
        .select_from(_p)
        .outerjoin(study, study.c.id == _p.c.study_id)
        .outerjoin(ask, ask.c.id == _p.c.ask_id)
        .where(bulk_parameters.in_parameter(connection.dialect.name, _p.c.id))
        .order_by(_p.c.created_at, _p.c.id)
    )
    return [RunMessage(*row) for row in connection.execute(statement, {bulk_parameters.IDS_PARAM: ids})]


def unreserve_messages(connection: Connection, messages: Sequence[RunMessage]) -> None:
    """These could not be sent: they are owed again, but for those that somebody has sent since."""
    for message in sorted(messages):
        connection.execute(
            update(_p)
            .where(
                _p.c.id == message.participant_id,
                _p.c.status == str(Status.PENDING),
                _p.c.dispatch_no == message.dispatch_no,
            )
            .values(dispatched_at=null())
        )


def unpublished_ids(connection: Connection, limit: int) -> Sequence[UUID]:
    """Pending participants whose message was never sent: those first that are consumed first, then by age."""
    owed = select(_p.c.id).where(_p.c.status == str(Status.PENDING), _p.c.dispatched_at.is_(None))
    last = len(QUEUE_PRIORITY)
    urgency = case(
        {str(queue): rank for rank, queue in enumerate(QUEUE_PRIORITY)}, value=_p.c.queue, else_=last
    )
    return connection.scalars(owed.order_by(urgency, _p.c.created_at).limit(limit)).all()


def published_before_ids(
    connection: Connection, queue: Queue, before: datetime, limit: int
) -> Sequence[UUID]:
    """Pending participants whose message went to `queue` before that moment, the oldest first."""
    waiting = select(_p.c.id).where(
        _p.c.status == str(Status.PENDING),
        _p.c.queue == str(queue),
        _p.c.dispatched_at < before,
    )
    return connection.scalars(waiting.order_by(_p.c.dispatched_at).limit(limit)).all()


def newest_running_dispatch(connection: Connection, queue: Queue) -> datetime | None:
    """When the latest message was sent to `queue` that somebody runs on now; None if nobody does."""
    followed = select(func.max(_p.c.dispatched_at)).where(
        _p.c.status == str(Status.RUNNING), _p.c.queue == str(queue)
    )
    sent_at: datetime | None = connection.scalar(followed)
    return sent_at
