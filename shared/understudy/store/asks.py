"""Stores asks and their rounds, and reads the answers.

An answer is the last interaction of a participant that completed by it. An extended participant may answer
again. The newest answer of each person and round counts, and each person counts once.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, and_, case, exists, func, insert, null, select, update

from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.store.aliases import assign_aliases
from understudy.store.engine import AnyRow, store_clock
from understudy.store.paging import page
from understudy.store.schema import Tables

_ask = Tables.ask
_round = Tables.round
_p = Tables.participant
_interaction = Tables.interaction

#: Maximum rounds of an ask. Source: contract section 1.
MAX_ROUNDS = 5


def insert_ask(
    connection: Connection,
    workspace_id: UUID,
    *,
    question: str,
    max_interactions: int | None,
    mind: str,
    step_timeout_s: float,
    run_timeout_s: float,
) -> UUID:
    """Inserts an ask without rounds; returns its id. Each call inserts another ask."""
    id_ = uuid4()
    connection.execute(
        insert(_ask).values(
            id=id_,
            workspace_id=workspace_id,
            alias=assign_aliases(connection, workspace_id, Kind.ASK, [id_])[id_],
            question=question,
            round_count=0,
            max_interactions=max_interactions,
            mind=mind,
            step_timeout_s=step_timeout_s,
            run_timeout_s=run_timeout_s,
            created_at=store_clock(),
        )
    )
    return id_


def open_round(connection: Connection, ask_id: UUID) -> int | None:
    """Returns the number of the ask's next round, for the caller to insert; None if it has MAX_ROUNDS.

    A concurrent call waits for this commit, then gets the next number. Each committed call opens a round.
    """
    statement = (
        update(_ask)
        .where(_ask.c.id == ask_id, _ask.c.round_count < MAX_ROUNDS)
        .values(round_count=_ask.c.round_count + 1)
        .returning(_ask.c.round_count)
    )
    number: int | None = connection.scalar(statement)
    return number


def insert_round(connection: Connection, ask_id: UUID, number: int, *, question: str, variants: Sequence[str]) -> None:
    """Inserts the question and variants of an open round. Raises IntegrityError if the round exists."""
    connection.execute(
        insert(_round).values(
            ask_id=ask_id,
            number=number,
            question=question,
            variants=list(variants),
            created_at=store_clock(),
        )
    )


def round_of(connection: Connection, ask_id: UUID, number: int) -> AnyRow:
    """Returns one existing round."""
    return connection.execute(select(_round).where(_round.c.ask_id == ask_id, _round.c.number == number)).one()


def rounds_of(connection: Connection, ask_id: UUID) -> Sequence[AnyRow]:
    """Returns the rounds of an ask, in order."""
    return connection.execute(select(_round).where(_round.c.ask_id == ask_id).order_by(_round.c.number)).all()


def page_of_asks(
    connection: Connection, workspace_id: UUID, cursor: str | None, limit: int, *, newest_first: bool = False
) -> tuple[list[AnyRow], str | None]:
    """Returns one page of the workspace's asks, and the next cursor; None on the last page."""
    asks = select(_ask).where(_ask.c.workspace_id == workspace_id)
    return page(connection, asks, _ask, cursor, limit, newest_first=newest_first)


def _panel(ask_id: UUID) -> Select[Any]:
    """Selects the panel of an ask: the participants of round 1 without a source."""
    person = Tables.person
    return (
        select(_p.c.id, _p.c.created_at, _p.c.person_id, _p.c.seed, person.c.name.label("person_name"))
        .join(person, person.c.id == _p.c.person_id)
        .where(_p.c.ask_id == ask_id, _p.c.round == 1, _p.c.extended_from.is_(None))
    )


def panel(connection: Connection, ask_id: UUID) -> Sequence[AnyRow]:
    """Returns the panel of an ask, each person with the seed of round 1; always in the same order.

    Returns nobody once the panel's deletion has begun. The caller has locked the ask by opening a round.
    """
    person = Tables.person
    is_kept = exists(select(1).where(_ask.c.id == ask_id, _ask.c.panel_removed_at.is_(None)))
    return connection.execute(_panel(ask_id).where(is_kept).order_by(person.c.created_at, person.c.id)).all()


def page_of_panel(
    connection: Connection, ask_id: UUID, cursor: str | None, limit: int
) -> tuple[list[AnyRow], str | None]:
    """Returns one page of the panel, and the next cursor; None on the last page."""
    return page(connection, _panel(ask_id), _p, cursor, limit)


def status_counts(connection: Connection, ask_id: UUID) -> dict[int, dict[str, int]]:
    """Returns the number of participants by round and status; sources and their children all count."""
    statement = (
        select(_p.c.round, _p.c.status, func.count()).where(_p.c.ask_id == ask_id).group_by(_p.c.round, _p.c.status)
    )
    counted: dict[int, dict[str, int]] = defaultdict(lambda: {str(status): 0 for status in Status})
    for number, status, count in connection.execute(statement):
        counted[number][status] = count
    return counted


class RoundAnswer(NamedTuple):
    """A person's newest answer in a round; without an answer, their newest participant."""

    round: int
    person_id: UUID
    participant_id: UUID
    alias: str
    status: str
    outcome: str | None
    error_kind: str | None
    error_message: str | None
    sentiment: float | None
    answered: bool
    pick: str | None
    ratings: Any
    #: Set only on request.
    comment: str | None


def round_answers(
    connection: Connection,
    ask_id: UUID,
    person_ids: Sequence[UUID] | None = None,
    *,
    comments: bool = False,
) -> Iterator[RoundAnswer]:
    """Yields one entry per person and round, in order of rounds; of `person_ids` only, if set."""
    last = and_(_interaction.c.participant_id == _p.c.id, _interaction.c.ordinal == _p.c.interaction_count - 1)
    kind = _interaction.c.action["kind"].as_string()
    # A rejected answer does not end a run, but can be its last interaction, at the cap.
    is_answer = and_(_p.c.status == str(Status.COMPLETED), _p.c.outcome.is_(None), kind == "answer")
    answered = case((is_answer, 1), else_=0)
    answered_at = case((is_answer, _p.c.finished_at), else_=null())
    newest_first = (answered.desc(), answered_at.desc(), _p.c.created_at.desc(), _p.c.id)
    value = _interaction.c.action["value"]
    ranked = (
        select(
            _p.c.round,
            _p.c.person_id,
            _p.c.id,
            _p.c.alias,
            _p.c.status,
            _p.c.outcome,
            _p.c.error_kind,
            _p.c.error_message,
            _interaction.c.sentiment,
            answered.label("answered"),
            value["pick"].as_string().label("pick"),
            value["ratings"].label("ratings"),
            (value["comment"].as_string() if comments else null()).label("comment"),
            func.row_number().over(partition_by=(_p.c.round, _p.c.person_id), order_by=newest_first).label("nth"),
        )
        .select_from(_p)
        .outerjoin(_interaction, last)
        .where(_p.c.ask_id == ask_id)
    )
    if person_ids is not None:
        ranked = ranked.where(_p.c.person_id.in_(person_ids))
    newest = ranked.subquery()
    columns = [column for column in newest.c if column.name != "nth"]
    statement = select(*columns).where(newest.c.nth == 1).order_by(newest.c.round)
    for row in connection.execute(statement):
        answer = RoundAnswer(*row)
        if answer.answered:
            yield answer._replace(answered=True)
        else:
            yield answer._replace(answered=False, pick=None, ratings=None, comment=None)
