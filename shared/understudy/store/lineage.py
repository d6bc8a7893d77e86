"""Reads a run over its lineage: a child continues from its source, and nothing is copied."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, and_, func, literal, select

from understudy.domain.cursors import decode_cursor, encode_cursor
from understudy.domain.runs import RunSpec
from understudy.store import bulk_parameters
from understudy.store.engine import AnyRow
from understudy.store.paging import stream, take
from understudy.store.schema import Tables

_p = Tables.participant
_interaction = Tables.interaction
_checkpoint = Tables.checkpoint


def _ancestry(participant_id: UUID) -> Any:
    """Selects a participant and its ancestors: `(id, extended_from, depth)`, itself at depth 0."""
    own = select(_p.c.id, _p.c.extended_from, literal(0).label("depth")).where(_p.c.id == participant_id)
    chain = own.cte("ancestry", recursive=True)
    source = select(_p.c.id, _p.c.extended_from, chain.c.depth + 1).where(_p.c.id == chain.c.extended_from)
    return chain.union_all(source)


def _interactions(participant_id: UUID, first: Any, end: Any) -> Select[Any]:
    """Selects the lineage's interactions from index `first` to before `end`.

    Indexes have no gaps, and a participant has those from its branch point on. So the ancestors of the first
    participant that branched at or before `first` have none of them. Both bounds keep the read small for any
    planner; with a limit alone, PostgreSQL sorts the whole lineage.
    """
    own = select(_p.c.id, _p.c.extended_from, _p.c.branched_at).where(_p.c.id == participant_id)
    chain = own.cte("holders", recursive=True)
    source = select(_p.c.id, _p.c.extended_from, _p.c.branched_at).where(
        _p.c.id == chain.c.extended_from, chain.c.branched_at > first
    )
    holders = select(chain.union_all(source).c.id)
    return select(_interaction).where(
        _interaction.c.participant_id.in_(holders), _interaction.c.ordinal >= first, _interaction.c.ordinal < end
    )


def interactions(connection: Connection, participant_id: UUID, *, after: int = -1, limit: int) -> Iterator[AnyRow]:
    """Yields up to `limit` interactions with an index above `after`, in order; memory holds a few of them."""
    part = _interactions(participant_id, after + 1, after + 1 + limit)
    return stream(connection, part.order_by(_interaction.c.ordinal))


def page_of_interactions(
    connection: Connection,
    workspace_id: UUID,
    participant_id: UUID,
    *,
    own: bool,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[AnyRow], str | None]:
    """Returns one page of interactions over the lineage, or of `own` ones, and the next cursor (or None)."""
    list_key = (_interaction.name, workspace_id, participant_id, own)
    first = 0 if cursor is None else int(decode_cursor(cursor, *list_key)) + 1
    if own:
        of_one = select(_interaction).where(_interaction.c.participant_id == participant_id)
        statement = of_one.where(_interaction.c.ordinal >= first)
    else:
        statement = _interactions(participant_id, first, first + limit + 1)
    rows, has_more = take(connection, statement.order_by(_interaction.c.ordinal), limit)
    return rows, encode_cursor(str(rows[-1].ordinal), *list_key) if has_more else None


def latest_interactions(connection: Connection, participant_id: UUID, limit: int) -> list[AnyRow]:
    """Returns the last `limit` interactions over the lineage, oldest first."""
    count = connection.scalar(select(_p.c.interaction_count).where(_p.c.id == participant_id)) or 0
    latest = _interactions(participant_id, count - limit, count)
    return list(connection.execute(latest.order_by(_interaction.c.ordinal)).all())


def highlights(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, AnyRow]:
    """Returns the interaction with the strongest sentiment, of either sign, over each lineage of `ids`.

    The latest of equally strong ones wins. Participants without an interaction are left out.
    """
    own = select(_p.c.id.label("of"), _p.c.id, _p.c.extended_from).where(_p.c.id.in_(ids))
    chain = own.cte("ancestries", recursive=True)
    source = select(chain.c.of, _p.c.id, _p.c.extended_from).where(_p.c.id == chain.c.extended_from)
    chain = chain.union_all(source)
    rank = func.row_number().over(
        partition_by=chain.c.of,
        order_by=(func.abs(_interaction.c.sentiment).desc(), _interaction.c.ordinal.desc()),
    )
    # Sorts only keys; reads the thoughts of the first ones only.
    ranked = (
        select(chain.c.of, _interaction.c.participant_id, _interaction.c.ordinal, rank.label("place"))
        .join(_interaction, _interaction.c.participant_id == chain.c.id)
        .subquery()
    )
    first = (
        (ranked.c.place == 1)
        & (_interaction.c.participant_id == ranked.c.participant_id)
        & (_interaction.c.ordinal == ranked.c.ordinal)
    )
    statement = select(ranked.c.of, _interaction.c.ordinal, _interaction.c.thought, _interaction.c.sentiment).join(
        ranked, first
    )
    return {row.of: row for row in connection.execute(statement)}


def load_checkpoint(connection: Connection, participant_id: UUID) -> dict[str, Any] | None:
    """Returns the state to resume from: its own, else its nearest ancestor's; None: from the start."""
    chain = _ancestry(participant_id)
    statement = (
        select(_checkpoint.c.state)
        .join(chain, chain.c.id == _checkpoint.c.participant_id)
        .order_by(chain.c.depth)
        .limit(1)
    )
    state: dict[str, Any] | None = connection.scalar(statement)
    return state


def instructions(connection: Connection, participant_id: UUID) -> list[tuple[int, str]]:
    """Returns `(branched_at, instruction)` of each extend in the lineage with its own instruction, oldest
    first. Inherited instructions are not repeated."""
    chain = _ancestry(participant_id)
    rows = connection.execute(
        select(_p.c.branched_at, _p.c.instruction)
        .join(chain, chain.c.id == _p.c.id)
        .where(_p.c.instruction_is_own)
        .order_by(chain.c.depth.desc())
    )
    return [(row.branched_at, row.instruction) for row in rows]


def load_run_spec(connection: Connection, participant_id: UUID) -> RunSpec:
    """Returns the run spec of a participant."""
    return load_run_specs(connection, [participant_id])[participant_id]


def load_run_specs(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, RunSpec]:
    """Returns the run specs of participants, from study and iteration, or from ask and round."""
    statement = _select_run_specs(connection.dialect.name)
    return {row.id: _run_spec(row) for row in connection.execute(statement, {bulk_parameters.IDS_PARAM: ids})}


_workspace, _person, _study, _iteration, _ask, _round = (
    Tables.workspace,
    Tables.person,
    Tables.study,
    Tables.iteration,
    Tables.ask,
    Tables.round,
)


@cache
def _select_run_specs(dialect: str) -> Select[Any]:
    return (
        select(
            _p.c.id,
            _workspace.c.name.label("workspace"),
            _person.c.name,
            _person.c.age,
            _person.c.country,
            _person.c.language,
            _person.c.traits,
            _person.c.bio,
            _study.c.assignment,
            _study.c.modality,
            _iteration.c.content,
            _round.c.question,
            _round.c.variants,
            func.coalesce(_iteration.c.mind, _ask.c.mind).label("mind"),
            func.coalesce(_iteration.c.step_timeout_s, _ask.c.step_timeout_s).label("step_timeout_s"),
            func.coalesce(_iteration.c.run_timeout_s, _ask.c.run_timeout_s).label("run_timeout_s"),
        )
        .select_from(_p)
        .join(_workspace, _workspace.c.id == _p.c.workspace_id)
        .join(_person, _person.c.id == _p.c.person_id)
        .outerjoin(_study, _study.c.id == _p.c.study_id)
        .outerjoin(_iteration, _iteration.c.id == _p.c.iteration_id)
        .outerjoin(_ask, _ask.c.id == _p.c.ask_id)
        .outerjoin(_round, and_(_round.c.ask_id == _p.c.ask_id, _round.c.number == _p.c.round))
        .where(bulk_parameters.in_parameter(dialect, _p.c.id))
    )


def _run_spec(row: AnyRow) -> RunSpec:
    fields = row._asdict()
    question, variants = fields.pop("question"), fields.pop("variants")
    del fields["id"]
    if question is not None:
        fields["assignment"] = {"task": question}
        fields["content"] = {"environment": "text", "variants": variants}
        fields["modality"] = "text"
    return RunSpec(**fields)
