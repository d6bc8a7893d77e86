"""Creates participants, and reserves the publication of their run messages.

A participant is dispatched once its row is committed as pending. The message only makes a worker claim it
sooner; the sweeper publishes it again if it is unpublished or lost.
"""

import random
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, and_, bindparam, false, func, insert, literal, null, select, update

from understudy.domain.ids import Kind
from understudy.domain.lifecycle import TERMINAL, Status
from understudy.domain.queues import Queue, task_id
from understudy.store import bulk_parameters
from understudy.store.aliases import assign_aliases
from understudy.store.dispatches import new_dispatch_id
from understudy.store.engine import AnyRow, store_clock, store_time
from understudy.store.events import NewEvent, record, record_bulk
from understudy.store.guards import queue_of
from understudy.store.schema import Tables

_p = Tables.participant


class RunMessage(NamedTuple):
    """A participant's latest run message, with the aliases that broker tools show."""

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
    """Inserts one participant per person, in that order; returns aliases by id, with ascending ids.

    `seed` determines all seeds, or lists one per person. Each call inserts new participants.
    """
    # Ascending, like lists: rows of one dispatch are then adjacent, and a cancel writes them page by page.
    ids = sorted(uuid4() for _ in person_ids)
    aliases = assign_aliases(connection, workspace_id, Kind.PARTICIPANT, ids)
    if isinstance(seed, int):
        rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
        seed = [rng.getrandbits(31) for _ in ids]
    rows = [
        {"id": id_.hex, "alias": aliases[id_], "person_id": person_id.hex, "seed": own_seed}
        for id_, person_id, own_seed in zip(ids, person_ids, seed, strict=True)
    ]
    shared_values = {
        "workspace_id": workspace_id,
        "study_id": study_id,
        "iteration_id": iteration_id,
        "ask_id": ask_id,
        "round": round_number,
        "parent_id": iteration_id or ask_id,
        "dispatch_id": new_dispatch_id(),
        "status": str(status),
        "queue": str(Queue.RUNS),
        "max_interactions": max_interactions,
        "epoch": 0,
        "seq": 1,
        "attempt": 0,
        "yields": False,
        "claimed_ms": 0,
        "dispatch_no": 0,
        "interaction_count": 0,
        "branched_at": 0,
        "instruction_is_own": False,
        # A value, not `store_clock()`: rows of one insert all have the same age.
        "created_at": (now := store_time(connection)),
        "pending_since": now,
    }
    if rows:
        new_rows = bulk_parameters.rows_parameter(
            connection.dialect.name, _p.c.id, _p.c.alias, _p.c.person_id, _p.c.seed
        )
        shared = [bindparam(name, type_=_p.c[name].type) for name in shared_values]
        statement = insert(_p).from_select([*new_rows.c.keys(), *shared_values], select(*new_rows.c, *shared))
        connection.execute(statement, {**bulk_parameters.parameter(rows), **shared_values})
        record_bulk(connection, ids, "status", {"status": str(status)}, via_outbox=True)
    return aliases


def insert_branch(
    connection: Connection,
    workspace_id: UUID,
    source_id: UUID,
    additional_steps: int,
    instruction: str | None,
) -> AnyRow | None:
    """Inserts a pending child that continues where `source_id` ended; returns its row. Inserts nothing and
    returns None unless the source exists in the workspace and is terminal. Each call inserts another child.

    The child stores its source and branch point and copies no history, so a long history costs no more. One
    statement checks and inserts: a source that is not terminal gets no child.
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
        _p.c.parent_id: func.coalesce(_p.c.iteration_id, _p.c.ask_id),
        _p.c.dispatch_id: literal(new_dispatch_id(), _p.c.dispatch_id.type),
        _p.c.status: literal(str(Status.PENDING)),
        _p.c.epoch: literal(0),
        _p.c.seq: literal(1),
        _p.c.attempt: literal(0),
        _p.c.yields: false(),
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
    # A source that is deleted meanwhile fails the foreign key: the transaction is repeated and finds none.
    source = select(*child.values()).where(
        _p.c.id == source_id,
        _p.c.workspace_id == workspace_id,
        _p.c.status.in_([str(status) for status in sorted(TERMINAL)]),
    )
    statement = insert(_p).from_select([column.name for column in child], source).returning(_p)
    row = connection.execute(statement).one_or_none()
    if row is not None:
        data = {"status": str(Status.PENDING), "extended_from": str(source_id)}
        record(connection, [NewEvent(id_, 1, "status", data)])
    return row


def reserve_again(connection: Connection, ids: Sequence[UUID], before: datetime) -> list[RunMessage]:
    """Reserves another publication of those of `ids` that are pending and were published before that moment.

    Returns the messages, for the caller to publish. Concurrent calls return disjoint messages.
    """
    # `coalesce` keeps SQLite off the index of published rows, of which it would read all for each small batch.
    lost = and_(_p.c.status == str(Status.PENDING), func.coalesce(_p.c.dispatched_at, null()) < before)
    requested = bulk_parameters.in_parameter(connection.dialect.name, _p.c.id)
    lock = select(_p.c.id).where(requested, lost).order_by(_p.c.id).with_for_update(skip_locked=True)
    reserve = (
        update(_p)
        .where(requested, lost)
        .values(
            dispatched_at=store_clock(),
            dispatch_no=_p.c.dispatch_no + 1,
            # The previous version released suspects to the recovered queue.
            queue=queue_of(_p.c.attempt, _p.c.queue),
        )
        .returning(_p.c.id)
    )
    locked = connection.scalars(lock, {bulk_parameters.IDS_PARAM: ids}).all()
    return load_messages(connection, connection.scalars(reserve, {bulk_parameters.IDS_PARAM: locked}).all())


def load_messages(connection: Connection, ids: Sequence[UUID]) -> list[RunMessage]:
    """Returns the latest run message of each of `ids`, in order of creation."""
    statement = _select_messages(connection.dialect.name)
    return [RunMessage(*row) for row in connection.execute(statement, {bulk_parameters.IDS_PARAM: ids})]


@cache
def _select_messages(dialect: str) -> Select[Any]:
    study, ask = Tables.study, Tables.ask
    return (
        select(_p.c.id, _p.c.dispatch_no, _p.c.queue, _p.c.alias, study.c.alias, ask.c.alias)
        .select_from(_p)
        .outerjoin(study, study.c.id == _p.c.study_id)
        .outerjoin(ask, ask.c.id == _p.c.ask_id)
        .where(bulk_parameters.in_parameter(dialect, _p.c.id))
        .order_by(_p.c.created_at, _p.c.id)
    )


def unreserve_messages(connection: Connection, messages: Sequence[RunMessage]) -> None:
    """Marks messages as unpublished after a failed publish, except republished ones. Repeatable."""
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


def published_before_ids(connection: Connection, queue: Queue, before: datetime, limit: int) -> Sequence[UUID]:
    """Returns pending participants whose message was published to `queue` before then, oldest first."""
    waiting = select(_p.c.id).where(
        _p.c.status == str(Status.PENDING),
        _p.c.queue == str(queue),
        _p.c.dispatched_at < before,
    )
    return connection.scalars(waiting.order_by(_p.c.dispatched_at).limit(limit)).all()


def forget_publication(connection: Connection, id_: UUID) -> None:
    """Removes the publish time of a row that was just claimed by a message other than its latest. Repeatable.

    The latest message may still be in its queue, so the claim does not show that it overtook others.
    """
    connection.execute(update(_p).where(_p.c.id == id_).values(dispatched_at=null()))


def newest_running_dispatch(connection: Connection, queue: Queue) -> datetime | None:
    """Returns when the newest message of `queue` was published that a running participant was claimed by.

    None if there is none. Ignores times in the future, from before the store's clock was set back: each
    message published since then would seem to be older.
    """
    newest = select(func.max(_p.c.dispatched_at)).where(
        _p.c.status == str(Status.RUNNING), _p.c.queue == str(queue), _p.c.dispatched_at <= store_clock()
    )
    published_at: datetime | None = connection.scalar(newest)
    return published_at
