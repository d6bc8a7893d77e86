"""The states of participants as tools that show run messages need them."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, select

from understudy.domain.lifecycle import Status
from understudy.store import bulk_parameters
from understudy.store.engine import AnyRow
from understudy.store.schema import Tables

_p = Tables.participant


class RunState(NamedTuple):
    """The state of a participant, without anything that only its workspace may read."""

    status: Status
    #: Outcome of a completed one, kind of the failure of a failed one; else None.
    reason: str | None
    interactions: int
    #: Number of its latest run message.
    dispatch_no: int


def of_row(row: AnyRow) -> RunState:
    """Returns the state of a row of a participant."""
    return RunState(Status(row.status), row.outcome or row.error_kind, row.interaction_count, row.dispatch_no)


def load_run_states(connection: Connection, ids: Collection[UUID]) -> dict[UUID, RunState]:
    """Returns the states of those of `ids` that exist, in all workspaces; for operators, never for a caller."""
    columns = (_p.c.id, _p.c.status, _p.c.outcome, _p.c.error_kind, _p.c.interaction_count, _p.c.dispatch_no)
    statement = select(*columns).where(bulk_parameters.in_parameter(connection.dialect.name, _p.c.id))
    rows = connection.execute(statement, {bulk_parameters.IDS_PARAM: list(ids)}).all() if ids else ()
    return {row.id: of_row(row) for row in rows}
