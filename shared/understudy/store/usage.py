"""Usage of language models: stored with each step that called one, and summed for readers."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Insert, Select, case, func, insert, or_, select

from understudy.domain.simulation import Usage
from understudy.store import bulk_parameters
from understudy.store.engine import AnyRow, chunks, store_clock, store_time
from understudy.store.schema import Tables

_p = Tables.participant
_usage = Tables.usage

_FIGURES = ("model", "calls", "input_tokens", "output_tokens", "seconds", "cost")


def store(connection: Connection, used: Sequence[tuple[UUID, int | None, Usage]]) -> None:
    """Inserts usage, `(participant, index, usage)`, in the transaction that stores the steps. Without an
    index: of the step in which the participant failed. Raises IntegrityError on a repeat."""
    if used:
        rows = [{"participant_id": id_.hex, "ordinal": index, **asdict(usage)} for id_, index, usage in used]
        connection.execute(_store(connection.dialect.name), bulk_parameters.parameter(rows))


@cache
def _store(dialect: str) -> Insert:
    """Reads workspace, study and ask from the participant's row, which the caller has just written."""
    columns = (_usage.c[name] for name in _FIGURES)
    used = bulk_parameters.rows_parameter(dialect, _usage.c.participant_id, _usage.c.ordinal, *columns)
    values = {
        "participant_id": _p.c.id,
        "ordinal": func.coalesce(used.c.ordinal, _p.c.interaction_count),
        "at": store_clock(),
        "workspace_id": _p.c.workspace_id,
        "study_id": _p.c.study_id,
        "ask_id": _p.c.ask_id,
        **{name: used.c[name] for name in _FIGURES},
    }
    rows = select(*values.values()).join_from(used, _p, _p.c.id == used.c.participant_id)
    return insert(_usage).from_select([*values], rows)


def _sums() -> Select[Any]:
    total = [func.sum(_usage.c[name]).label(name) for name in _FIGURES[1:-1]]
    # If any row has no price, the sum has none.
    cost = case((func.count(_usage.c.cost) == func.count(), func.sum(_usage.c.cost)))
    return select(*total, cost.label("cost"))


def sum_for_study(connection: Connection, study_id: UUID) -> AnyRow | None:
    """Returns the usage of all participants of a study; None if none called a model."""
    return _get_sums(connection, _sums().where(_usage.c.study_id == study_id))


def sum_for_ask(connection: Connection, ask_id: UUID) -> AnyRow | None:
    """Returns the usage of all participants of an ask; None if none called a model."""
    return _get_sums(connection, _sums().where(_usage.c.ask_id == ask_id))


def sum_for_workspace_today(connection: Connection, workspace_id: UUID) -> AnyRow | None:
    """Returns a workspace's usage since midnight (UTC), as its daily quota counts it; None if it has none."""
    midnight = store_time(connection).replace(hour=0, minute=0, second=0, microsecond=0)
    today = (_usage.c.workspace_id == workspace_id, _usage.c.at >= midnight)
    return _get_sums(connection, _sums().where(*today))


def _get_sums(connection: Connection, sums: Select[Any]) -> AnyRow | None:
    row = connection.execute(sums).one()
    return None if row.calls is None else row


def tokens_of_study(connection: Connection, id_: UUID) -> int:
    """Returns all tokens used for the study or ask of this id."""
    parent = or_(_usage.c.study_id == id_, _usage.c.ask_id == id_)
    return connection.scalar(select(_TOKENS).where(parent)) or 0


def tokens_of_workspace(connection: Connection, workspace_id: UUID, since: datetime) -> int:
    """Returns all tokens that a workspace has used since then."""
    recent = (_usage.c.workspace_id == workspace_id, _usage.c.at >= since)
    return connection.scalar(select(_TOKENS).where(*recent)) or 0


_TOKENS = func.sum(_usage.c.input_tokens + _usage.c.output_tokens)


def for_participants(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, AnyRow]:
    """Returns each participant's own usage, without inherited usage; leaves out those without any."""
    found: dict[UUID, AnyRow] = {}
    for chunk in chunks(ids):
        sums = _sums().add_columns(_usage.c.participant_id).where(_usage.c.participant_id.in_(chunk))
        rows = connection.execute(sums.group_by(_usage.c.participant_id))
        found |= {row.participant_id: row for row in rows}
    return found


def for_interactions(connection: Connection, rows: Sequence[AnyRow]) -> dict[tuple[UUID, int], AnyRow]:
    """Returns the usage of these interactions by participant and index; leaves out those without any."""
    if not rows:
        return {}
    statement = select(_usage).where(
        _usage.c.participant_id.in_({row.participant_id for row in rows}),
        _usage.c.ordinal.between(rows[0].ordinal, rows[-1].ordinal),
    )
    return {(row.participant_id, row.ordinal): row for row in connection.execute(statement)}
