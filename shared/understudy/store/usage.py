"""Usage of language models: stored with each step that called one, and summed for readers."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    FromClause,
    Insert,
    Select,
    String,
    and_,
    case,
    cast,
    func,
    insert,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite

from understudy.domain.simulation import Usage
from understudy.store import bulk_parameters
from understudy.store.engine import AnyRow, chunks, store_clock, store_time
from understudy.store.schema import Tables

_p = Tables.participant
_usage = Tables.usage
_past = Tables.past_usage

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


def keep_sums(connection: Connection, ids: Sequence[UUID]) -> None:
    """Adds the usage of participants that this transaction deletes next to the sums of its days. Not repeatable."""
    day = _day_of(connection, _usage.c.at)
    parent = func.coalesce(_usage.c.study_id, _usage.c.ask_id)
    key = {"parent_id": parent, "day": day, "model": _usage.c.model, "workspace_id": _usage.c.workspace_id}
    listed = bulk_parameters.in_parameter(connection.dialect.name, _usage.c.participant_id)
    sums = _sums(_usage).add_columns(*key.values()).where(listed, parent.is_not(None)).group_by(*key.values())
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    kept = dialect.insert(_past).from_select([*_FIGURES[1:], *key], sums)
    # A sum without a price stays without one.
    added = {name: _past.c[name] + kept.excluded[name] for name in _FIGURES[1:]}
    upsert = kept.on_conflict_do_update(index_elements=[_past.c.parent_id, _past.c.day, _past.c.model], set_=added)
    connection.execute(upsert, {bulk_parameters.IDS_PARAM: ids})


def _day_of(connection: Connection, at: Any) -> Any:
    """Returns the day (UTC) of a time, as `past_usage` names it."""
    if connection.dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", at), "YYYY-MM-DD")
    return func.substr(cast(at, String), 1, 10)


def _sums(table: Any) -> Select[Any]:
    total = [func.sum(table.c[name]).label(name) for name in _FIGURES[1:-1]]
    # If any row has no price, the sum has none.
    cost = case((func.count(table.c.cost) == func.count(), func.sum(table.c.cost)))
    return select(*total, cost.label("cost"))


def _all(of_usage: Any, of_past: Any) -> FromClause:
    """Returns the figures of all usage that matches, of deleted participants too."""
    kept = select(*(_usage.c[name] for name in _FIGURES)).where(of_usage)
    past = select(*(_past.c[name] for name in _FIGURES)).where(of_past)
    return union_all(kept, past).subquery()


def sum_for_study(connection: Connection, study_id: UUID) -> AnyRow | None:
    """Returns the usage of all participants of a study, deleted ones included; None if none called a model."""
    return _get_sums(connection, _all(_usage.c.study_id == study_id, _past.c.parent_id == study_id))


def sum_for_ask(connection: Connection, ask_id: UUID) -> AnyRow | None:
    """Returns the usage of all participants of an ask, deleted ones included; None if none called a model."""
    return _get_sums(connection, _all(_usage.c.ask_id == ask_id, _past.c.parent_id == ask_id))


def sum_for_workspace_today(connection: Connection, workspace_id: UUID) -> AnyRow | None:
    """Returns a workspace's usage since midnight (UTC), as its daily quota counts it; None if it has none."""
    midnight = store_time(connection).replace(hour=0, minute=0, second=0, microsecond=0)
    return _get_sums(connection, _all(*_since(workspace_id, midnight)))


def _since(workspace_id: UUID, since: datetime) -> tuple[Any, Any]:
    """Returns the conditions of a workspace's usage since then; deleted usage counts from the start of that day."""
    recent = and_(_usage.c.workspace_id == workspace_id, _usage.c.at >= since)
    return recent, and_(_past.c.workspace_id == workspace_id, _past.c.day >= f"{since.astimezone(UTC):%Y-%m-%d}")


def _get_sums(connection: Connection, table: FromClause) -> AnyRow | None:
    row = connection.execute(_sums(table)).one()
    return None if row.calls is None else row


def tokens_of_study(connection: Connection, id_: UUID) -> int:
    """Returns all tokens used for the study or ask of this id."""
    parent = or_(_usage.c.study_id == id_, _usage.c.ask_id == id_)
    return _count_tokens(connection, _all(parent, _past.c.parent_id == id_))


def tokens_of_workspace(connection: Connection, workspace_id: UUID, since: datetime) -> int:
    """Returns all tokens that a workspace has used since then, a start of a day (UTC)."""
    return _count_tokens(connection, _all(*_since(workspace_id, since)))


def _count_tokens(connection: Connection, table: FromClause) -> int:
    return int(connection.scalar(select(func.sum(table.c.input_tokens + table.c.output_tokens))) or 0)


def for_participants(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, AnyRow]:
    """Returns each participant's own usage, without inherited usage; leaves out those without any."""
    found: dict[UUID, AnyRow] = {}
    for chunk in chunks(ids):
        sums = _sums(_usage).add_columns(_usage.c.participant_id).where(_usage.c.participant_id.in_(chunk))
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
