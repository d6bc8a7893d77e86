"""Studies, their iterations, and what came of them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, case, func, insert, select

from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.store.aliases import assign_aliases, find
from understudy.store.engine import AnyRow, store_clock
from understudy.store.paging import page
from understudy.store.schema import Tables

_study = Tables.study
_iteration = Tables.iteration
_p = Tables.participant
_interaction = Tables.interaction

#: From here on a sentiment counts as positive, and below its negative as negative.
SENTIMENT_THRESHOLD = 0.2


def insert_study(
    connection: Connection,
    workspace_id: UUID,
    *,
    name: str,
    modality: str,
    assignment: Mapping[str, Any],
    questions: Sequence[str],
) -> UUID:
    """Store a study; its id."""
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
            created_at=store_clock(),
        )
    )
    return id_


def page_of_studies(
    connection: Connection, workspace_id: UUID, cursor: str | None, limit: int
) -> tuple[list[AnyRow], str | None]:
    """One page of the workspace's studies."""
    studies = select(_study).where(_study.c.workspace_id == workspace_id)
    return page(connection, studies, _study, cursor, limit)


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
    """Store the next iteration of a study of this workspace; its id."""
    id_ = uuid4()
    # First the alias: giving it out keeps others of the workspace from taking the same number.
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
            created_at=store_clock(),
        )
    )
    return id_


def list_iterations(connection: Connection, workspace_id: UUID, study_id: UUID) -> Sequence[AnyRow]:
    """A study's iterations, in order."""
    statement = select(_iteration).where(
        _iteration.c.workspace_id == workspace_id, _iteration.c.study_id == study_id
    )
    return connection.execute(statement.order_by(_iteration.c.number)).all()


def resolve_iteration(
    connection: Connection, workspace_id: UUID, study_id: UUID, ref: str | None
) -> AnyRow | None:
    """The iteration `ref` names, or the study's latest; None when that study has no such iteration."""
    if ref is not None:
        row = find(connection, workspace_id, Kind.ITERATION, ref, "iteration_id")
        return row if row.study_id == study_id else None
    rows = list_iterations(connection, workspace_id, study_id)
    return rows[-1] if rows else None


def status_counts(connection: Connection, workspace_id: UUID, study_id: UUID) -> dict[str, int]:
    """How many participants of a study stand where."""
    statement = (
        select(_p.c.status, func.count())
        .where(_p.c.workspace_id == workspace_id, _p.c.study_id == study_id)
        .group_by(_p.c.status)
    )
    counted = {row[0]: row[1] for row in connection.execute(statement)}
    return {str(status): counted.get(str(status), 0) for status in Status}


def outcome_counts(connection: Connection, workspace_id: UUID, study_id: UUID) -> dict[str, int]:
    """How the completed participants of a study ended; without those whose outcome is null."""
    statement = (
        select(_p.c.outcome, func.count())
        .where(_p.c.workspace_id == workspace_id, _p.c.study_id == study_id, _p.c.outcome.is_not(None))
        .group_by(_p.c.outcome)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def sentiment_counts(connection: Connection, workspace_id: UUID, study_id: UUID) -> dict[str, int]:
    """How completed participants felt at their last interaction: negative, neutral, positive."""
    felt = case(
        (_interaction.c.sentiment <= -SENTIMENT_THRESHOLD, "negative"),
        (_interaction.c.sentiment >= SENTIMENT_THRESHOLD, "positive"),
        else_="neutral",
    )
    last = (_interaction.c.participant_id == _p.c.id) & (_interaction.c.ordinal == _p.c.interaction_count - 1)
    statement = (
        select(felt, func.count())
        .select_from(_p.join(_interaction, last))
        .where(
            _p.c.workspace_id == workspace_id,
            _p.c.study_id == study_id,
            _p.c.status == str(Status.COMPLETED),
        )
        .group_by(felt)
    )
    counted = {row[0]: row[1] for row in connection.execute(statement)}
    return {name: counted.get(name, 0) for name in ("negative", "neutral", "positive")}
