"""Writes interactions of a run, after its guarded update of the participant changed the row."""

from collections.abc import Sequence
from functools import cache
from uuid import UUID

from sqlalchemy import Connection, Insert, insert, select, true
from sqlalchemy.dialects import postgresql, sqlite

from understudy.domain.runs import Step
from understudy.store import bulk_parameters, usage
from understudy.store.schema import Tables

_interaction = Tables.interaction
_checkpoint = Tables.checkpoint


def store_steps(connection: Connection, steps: Sequence[tuple[UUID, int, Step]]) -> None:
    """Inserts `(participant, epoch, step)`, replaces checkpoints. Raises IntegrityError on a stored index."""
    if not steps:
        return
    dialect = connection.dialect.name
    rows = [
        {
            "participant_id": id_.hex,
            "ordinal": step.index,
            "epoch": epoch,
            "observation": step.observation,
            "thought": step.thought,
            "action": step.action,
            "sentiment": step.sentiment,
            "result": step.result,
            "started_at": bulk_parameters.format_time(dialect, step.started_at),
            "duration_ms": step.duration_ms,
        }
        for id_, epoch, step in steps
    ]
    connection.execute(_insert(dialect), bulk_parameters.parameter(rows))
    states = [{"participant_id": id_.hex, "state": step.state} for id_, _, step in steps]
    connection.execute(_save(dialect), bulk_parameters.parameter(states))
    usage.store(connection, [(id_, step.index, step.usage) for id_, _, step in steps if step.usage])


@cache
def _insert(dialect: str) -> Insert:
    rows = bulk_parameters.rows_parameter(dialect, *_interaction.c)
    return insert(_interaction).from_select([*rows.c.keys()], select(rows))


@cache
def _save(dialect: str) -> Insert:
    insert_or = postgresql.insert if dialect == "postgresql" else sqlite.insert
    rows = bulk_parameters.rows_parameter(dialect, *_checkpoint.c)
    # Without a condition, SQLite parses ON CONFLICT as the start of a join.
    statement = insert_or(_checkpoint).from_select([*rows.c.keys()], select(rows).where(true()))
    return statement.on_conflict_do_update(index_elements=["participant_id"], set_={"state": statement.excluded.state})


def is_stored(connection: Connection, participant_id: UUID, epoch: int, index: int) -> bool:
    """Returns whether this step is stored. Only its own run writes under its epoch."""
    stored = select(_interaction.c.ordinal).where(
        _interaction.c.participant_id == participant_id,
        _interaction.c.ordinal == index,
        _interaction.c.epoch == epoch,
    )
    return connection.scalar(stored) is not None
