"""Reads participants by id, by scope and in pages, mostly within a workspace."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, literal_column, select

from understudy.domain.cancellation import Candidate
from understudy.domain.errors import NotFound, UnderstudyError, ValidationError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import ACTIVE, TERMINAL, Status
from understudy.store import bulk_parameters
from understudy.store.aliases import find_many
from understudy.store.engine import AnyRow
from understudy.store.paging import page
from understudy.store.schema import Tables

_p = Tables.participant


class ParticipantScope(NamedTuple):
    """The selected participants, by the ids of rows that exist in the workspace."""

    participant_id: UUID | None = None
    study_id: UUID | None = None
    iteration_id: UUID | None = None
    ask_id: UUID | None = None
    round: int | None = None

    def where(self, workspace_id: UUID) -> ColumnElement[bool]:
        """Returns this scope as a condition, within the workspace."""
        columns = {
            "participant_id": _p.c.id,
            "study_id": _p.c.study_id,
            "iteration_id": _p.c.iteration_id,
            "ask_id": _p.c.ask_id,
            "round": _p.c.round,
        }
        conditions = [columns[name] == value for name, value in self._asdict().items() if value is not None]
        return and_(_p.c.workspace_id == workspace_id, *conditions)


#: A look-up, for thousands of rows several times faster than `Status(…)`.
_STATUSES = {str(status): status for status in Status}


def cancel_candidates(connection: Connection, workspace_id: UUID, scope: ParticipantScope) -> list[Candidate]:
    """Returns id and status of all participants in scope, in order of creation."""
    statement = select(_p.c.id, _p.c.status).where(scope.where(workspace_id))
    rows = connection.execute(statement.order_by(_p.c.created_at, _p.c.id)).all()
    return [Candidate(id_, _STATUSES[status]) for id_, status in rows]


_STATE = tuple(
    _p.c[name]
    for name in (
        "id",
        "alias",
        "status",
        "outcome",
        "interaction_count",
        "error_kind",
        "study_id",
        "ask_id",
    )
)


def states(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> list[AnyRow]:
    """Returns the state of those of `ids` that belong to the workspace, in the same order."""
    owned = _p.c.workspace_id == bindparam("workspace")
    statement = select(*_STATE).where(owned, bulk_parameters.in_parameter(connection.dialect.name, _p.c.id))
    rows = connection.execute(statement, {"workspace": workspace_id, bulk_parameters.IDS_PARAM: ids}).all()
    found = {row[0]: row for row in rows}
    return [found[id_] for id_ in ids if id_ in found]


def terminal_states(connection: Connection, ids: Sequence[UUID]) -> Sequence[AnyRow]:
    """Returns the final state of the terminal participants among `ids`, of any workspace."""
    requested = bulk_parameters.in_parameter(connection.dialect.name, _p.c.id)
    ended = select(*_STATE).where(requested, _p.c.status.in_([str(status) for status in sorted(TERMINAL)]))
    return connection.execute(ended, {bulk_parameters.IDS_PARAM: ids}).all()


def non_terminal_ids(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
    """Returns those of `ids` that are not terminal, in the same order."""
    owned = _p.c.workspace_id == workspace_id
    listed = bulk_parameters.in_parameter(connection.dialect.name, _p.c.id)
    not_ended = _p.c.status.not_in([str(status) for status in sorted(TERMINAL)])
    found = set(connection.scalars(select(_p.c.id).where(owned, listed, not_ended), {bulk_parameters.IDS_PARAM: ids}))
    return [id_ for id_ in ids if id_ in found]


def pending_queues(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> set[str]:
    """Returns the queues of those of `ids` that are pending in the workspace."""
    owned = _p.c.workspace_id == workspace_id
    listed = bulk_parameters.in_parameter(connection.dialect.name, _p.c.id)
    pending = select(_p.c.queue).distinct().where(owned, listed, _p.c.status == str(Status.PENDING))
    return set(connection.scalars(pending, {bulk_parameters.IDS_PARAM: ids}))


def states_by_request(connection: Connection, asked: Sequence[tuple[UUID, Sequence[UUID]]]) -> list[list[AnyRow]]:
    """Returns `states` of each workspace and ids in `asked`, with one read per workspace."""
    ids_by_workspace: dict[UUID, dict[UUID, None]] = {}
    for workspace_id, ids in asked:
        ids_by_workspace.setdefault(workspace_id, {}).update(dict.fromkeys(ids))
    found = {
        workspace_id: {row.id: row for row in states(connection, workspace_id, list(ids))}
        for workspace_id, ids in ids_by_workspace.items()
    }
    return [[found[key][id_] for id_ in ids if id_ in found[key]] for key, ids in asked]


def resolve_by_request(
    connection: Connection, asked: Sequence[tuple[UUID, Sequence[str]]]
) -> list[list[AnyRow] | UnderstudyError]:
    """Returns, for each workspace and refs in `asked`, `(id, alias)` of each named participant once, in
    order. For wrong refs, returns their ValidationError or NotFound. Reads each workspace at once."""
    lists_by_workspace: dict[UUID, list[Sequence[str]]] = {}
    for workspace_id, refs in asked:
        lists_by_workspace.setdefault(workspace_id, []).append(refs)
    found = {
        workspace_id: iter(_find_lists(connection, workspace_id, lists))
        for workspace_id, lists in lists_by_workspace.items()
    }
    return [next(found[workspace_id]) for workspace_id, _ in asked]


def _find_lists(
    connection: Connection, workspace_id: UUID, ref_lists: Sequence[Sequence[str]]
) -> list[list[AnyRow] | UnderstudyError]:
    """Resolves all lists in a few statements; bisects them to find those with an error."""
    refs = [ref for refs in ref_lists for ref in refs]
    try:
        rows = iter(find_many(connection, workspace_id, Kind.PARTICIPANT, refs, "participant_ids"))
    except (ValidationError, NotFound) as error:
        if len(ref_lists) == 1:
            return [error]
        half = len(ref_lists) // 2
        return [
            found
            for lists in (ref_lists[:half], ref_lists[half:])
            for found in _find_lists(connection, workspace_id, lists)
        ]
    return [list({row.id: row for row in islice(rows, len(refs))}.values()) for refs in ref_lists]


def select_details(workspace_id: UUID) -> Select[Any]:
    """Selects participants with `person_name`, the time of their latest event (`moved_at`), and the maximum
    duration of a step."""
    person, iteration, ask, event = Tables.person, Tables.iteration, Tables.ask, Tables.event
    latest = (event.c.participant_id == _p.c.id) & (event.c.seq == _p.c.seq)
    return (
        select(
            _p,
            person.c.name.label("person_name"),
            event.c.at.label("moved_at"),
            func.coalesce(iteration.c.step_timeout_s, ask.c.step_timeout_s).label("step_timeout_s"),
        )
        .join(person, person.c.id == _p.c.person_id)
        .outerjoin(event, latest)
        .outerjoin(iteration, iteration.c.id == _p.c.iteration_id)
        .outerjoin(ask, ask.c.id == _p.c.ask_id)
        .where(_p.c.workspace_id == workspace_id)
    )


def has_id(id_: UUID) -> ColumnElement[bool]:
    """Returns the condition of `select_details` that selects one participant."""
    return _p.c.id == id_


def get_details(connection: Connection, workspace_id: UUID, id_: UUID) -> AnyRow:
    """Returns one existing participant."""
    return connection.execute(select_details(workspace_id).where(_p.c.id == id_)).one()


def page_of_participants(
    connection: Connection,
    workspace_id: UUID,
    scope: ParticipantScope,
    *,
    status: Status | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[AnyRow], str | None]:
    """Returns one page of the participants in scope, of one status or of all; and the next cursor."""
    statement = select_details(workspace_id).where(scope.where(workspace_id))
    if status is not None:
        statement = statement.where(_p.c.status == str(status))
    return page(connection, statement, _p, cursor, limit)


def active_counts(connection: Connection) -> tuple[int, int]:
    """Returns the numbers of pending and of running participants, over all workspaces."""
    pending, running = (
        # A literal: SQLite uses no partial index for a value that is bound later.
        connection.scalar(select(func.count()).where(_p.c.status == literal_column(f"'{status}'")))
        for status in (Status.PENDING, Status.RUNNING)
    )
    return pending or 0, running or 0


def inactive_counts(connection: Connection) -> dict[Status, int]:
    """Returns the numbers of all other participants by status, over all workspaces. Reads every row."""
    rows = connection.execute(
        select(_p.c.status, func.count())
        .where(_p.c.status.not_in([str(status) for status in ACTIVE]))
        .group_by(_p.c.status)
    )
    counted = {Status(row.status): row[1] for row in rows}
    return {status: counted.get(status, 0) for status in Status if status not in ACTIVE}
