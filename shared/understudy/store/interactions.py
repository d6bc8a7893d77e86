"""Interactions as they are written: by the run that holds the participant, once its guarded update let it."""

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
    """Insert interactions and replace the checkpoints of their participants: `(participant, epoch, step)`."""
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
    given = bulk_parameters.rows_parameter(dialect, *_interaction.c)
    return insert(_interaction).from_select([*given.c.keys()], select(given))


@cache
def _save(dialect: str) -> Insert:
    insert_or = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = bulk_parameters.rows_parameter(dialect, *_checkpoint.c)
    # Without a condition SQLite takes ON CONFLICT for the beginning of a join.
    statement = insert_or(_checkpoint).from_select([*given.c.keys()], select(given).where(true()))
    return statement.on_conflict_do_update(
        index_elements=["participant_id"], set_={"state": statement.excluded.state}
    )


def is_stored(connection: Connection, participant_id: UUID, epoch: int, index: int) -> bool:
    """Is this very step there already? Nobody else writes under its run's epoch."""
    mine = select(_interaction.c.ordinal).where(
        _interaction.c.participant_id == participant_id,
        _interaction.c.ordinal == index,
        _interaction.c.epoch == epoch,
    )
    return connection.scalar(mine) is not None
