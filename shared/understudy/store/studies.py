"""Stores studies and their iterations, and counts their results."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, case, func, insert, select

from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.domain.sites import limited_site
from understudy.store.aliases import assign_aliases, find
from understudy.store.engine import AnyRow, store_clock
from understudy.store.paging import page
from understudy.store.schema import Tables

_study = Tables.study
_iteration = Tables.iteration
_p = Tables.participant
_interaction = Tables.interaction

#: Minimum of a positive sentiment; its negative is the maximum of a negative one.
SENTIMENT_THRESHOLD = 0.2


def insert_study(
    connection: Connection,
    workspace_id: UUID,
    *,
    name: str,
    modality: str,
    assignment: Mapping[str, Any],
    questions: Sequence[str],
    max_running: int | None = None,
) -> UUID:
    """Inserts a study; returns its id. Each call inserts another study."""
    id_ = uuid4()
    connection.execute(
        insert(_study).values(
            id=id_,
            workspace_id=workspace_id,
            alias=assign_aliases(connection, workspace_id, Kind.STUDY, [id_])[id_],
            name=name,
            modality=modality,
            status="draft",
            assignment=assignment,
            questions=questions,
            # A store that is not migrated yet has no such column.
            **({} if max_running is None else {"max_running": max_running}),
            created_at=store_clock(),
        )
    )
    return id_


def page_of_studies(
    connection: Connection, workspace_id: UUID, cursor: str | None, limit: int, *, newest_first: bool = False
) -> tuple[list[AnyRow], str | None]:
    """Returns one page of the workspace's studies, and the next cursor; None on the last page."""
    studies = select(_study).where(_study.c.workspace_id == workspace_id)
    return page(connection, studies, _study, cursor, limit, newest_first=newest_first)


def insert_iteration(
    connection: Connection,
    workspace_id: UUID,
    study_id: UUID,
    *,
    content: Mapping[str, Any],
    max_interactions: int | None,
    mind: str,
    step_timeout_s: float,
    run_timeout_s: float,
) -> UUID:
    """Inserts the next iteration of a study of this workspace; returns its id. Each call inserts another."""
    id_ = uuid4()
    # The alias first: its lock keeps other calls of the workspace from using the same number.
    alias = assign_aliases(connection, workspace_id, Kind.ITERATION, [id_])[id_]
    last = connection.scalar(select(func.max(_iteration.c.number)).where(_iteration.c.study_id == study_id))
    connection.execute(
        insert(_iteration).values(
            id=id_,
            workspace_id=workspace_id,
            study_id=study_id,
            alias=alias,
            number=(last or 0) + 1,
            content=content,
            max_interactions=max_interactions,
            mind=mind,
            step_timeout_s=step_timeout_s,
            run_timeout_s=run_timeout_s,
            **({} if (site := limited_site(content)) is None else {"site": site}),
            created_at=store_clock(),
        )
    )
    return id_


def list_iterations(connection: Connection, workspace_id: UUID, study_id: UUID) -> Sequence[AnyRow]:
    """Returns a study's iterations, in order."""
    statement = select(_iteration).where(_iteration.c.workspace_id == workspace_id, _iteration.c.study_id == study_id)
    return connection.execute(statement.order_by(_iteration.c.number)).all()


def resolve_iteration(connection: Connection, workspace_id: UUID, study_id: UUID, ref: str | None) -> AnyRow | None:
    """Returns the iteration `ref`, or the study's latest; None if the study has no such iteration."""
    if ref is not None:
        row = find(connection, workspace_id, Kind.ITERATION, ref, "iteration_id")
        return row if row.study_id == study_id else None
    rows = list_iterations(connection, workspace_id, study_id)
    return rows[-1] if rows else None


def status_counts(connection: Connection, workspace_id: UUID, study_id: UUID) -> dict[str, int]:
    """Returns the number of a study's participants by status."""
    statement = (
        select(_p.c.status, func.count())
        .where(_p.c.workspace_id == workspace_id, _p.c.study_id == study_id)
        .group_by(_p.c.status)
    )
    counted = {row[0]: row[1] for row in connection.execute(statement)}
    return {str(status): counted.get(str(status), 0) for status in Status}


def outcome_counts(connection: Connection, workspace_id: UUID, study_id: UUID) -> dict[str, int]:
    """Returns the number of a study's completed participants by outcome; leaves out null outcomes."""
    statement = (
        select(_p.c.outcome, func.count())
        .where(_p.c.workspace_id == workspace_id, _p.c.study_id == study_id, _p.c.outcome.is_not(None))
        .group_by(_p.c.outcome)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def sentiment_counts(connection: Connection, workspace_id: UUID, study_id: UUID) -> dict[str, int]:
    """Returns the number of completed participants by last sentiment: negative, neutral, positive."""
    sentiment = case(
        (_interaction.c.sentiment <= -SENTIMENT_THRESHOLD, "negative"),
        (_interaction.c.sentiment >= SENTIMENT_THRESHOLD, "positive"),
        else_="neutral",
    )
    last = (_interaction.c.participant_id == _p.c.id) & (_interaction.c.ordinal == _p.c.interaction_count - 1)
    statement = (
        select(sentiment, func.count())
        .select_from(_p.join(_interaction, last))
        .where(
            _p.c.workspace_id == workspace_id,
            _p.c.study_id == study_id,
            _p.c.status == str(Status.COMPLETED),
        )
        .group_by(sentiment)
    )
    counted = {row[0]: row[1] for row in connection.execute(statement)}
    return {name: counted.get(name, 0) for name in ("negative", "neutral", "positive")}
