"""Stores and finds people: reusable profiles."""

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ColumnElement, Connection, func, insert, or_, select, type_coerce

from understudy.domain.errors import ValidationError
from understudy.domain.filters import NO_FILTER, PeopleFilter
from understudy.domain.ids import Kind
from understudy.domain.simulation import Person
from understudy.store import bulk_parameters
from understudy.store.aliases import assign_aliases, find_many
from understudy.store.engine import AnyRow, store_time
from understudy.store.paging import page, stream
from understudy.store.schema import Tables
from understudy.store.traits import trait_matches

_person = Tables.person


def insert_people(connection: Connection, workspace_id: UUID, people: Sequence[Person]) -> list[UUID]:
    """Inserts profiles; returns their ids, in order. Each call inserts new people."""
    ids = [uuid4() for _ in people]
    aliases = assign_aliases(connection, workspace_id, Kind.PERSON, ids)
    dialect, now = connection.dialect.name, store_time(connection)
    rows = [
        {
            "id": id_.hex,
            "workspace_id": workspace_id.hex,
            "alias": aliases[id_],
            "name": person.name,
            "age": person.age,
            "country": person.country,
            "language": person.language,
            "traits": dict(person.traits),
            "bio": person.bio,
            # Distinct times: the same panel has the same order in every store, for the same samples.
            "created_at": bulk_parameters.format_time(dialect, now + timedelta(microseconds=index)),
        }
        for index, (id_, person) in enumerate(zip(ids, people, strict=True))
    ]
    if rows:
        new_rows = bulk_parameters.rows_parameter(dialect, *_person.c)
        statement = insert(_person).from_select([*new_rows.c.keys()], select(new_rows))
        connection.execute(statement, bulk_parameters.parameter(rows))
    return ids


def count_people(connection: Connection, workspace_id: UUID) -> int:
    """Returns the number of people in the workspace."""
    return _count(connection, [_person.c.workspace_id == workspace_id])


def _count(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> int:
    return connection.scalar(select(func.count()).select_from(_person).where(*conditions)) or 0


def page_of_people(
    connection: Connection,
    workspace_id: UUID,
    cursor: str | None,
    limit: int,
    where: PeopleFilter = NO_FILTER,
) -> tuple[list[AnyRow], str | None]:
    """Returns one page of the workspace's people that match `where`, and the next cursor."""
    statement = select(_person).where(*_conditions(workspace_id, where))
    return page(connection, statement, _person, cursor, limit, list_key=where.cursor_key)


def find_people(
    connection: Connection, workspace_id: UUID, where: PeopleFilter, limit: int
) -> tuple[int, Iterator[AnyRow]]:
    """Returns the number of matching people, and an iterator of the first `limit`, in order of creation."""
    conditions = _conditions(workspace_id, where)
    statement = select(_person).where(*conditions).order_by(_person.c.created_at, _person.c.id)
    return _count(connection, conditions), stream(connection, statement.limit(limit))


def _conditions(workspace_id: UUID, where: PeopleFilter) -> list[ColumnElement[bool]]:
    conditions = [_person.c.workspace_id == workspace_id]
    if where.age_min is not None:
        conditions.append(_person.c.age >= where.age_min)
    if where.age_max is not None:
        conditions.append(_person.c.age <= where.age_max)
    for column, wanted in ((_person.c.country, where.country), (_person.c.language, where.language)):
        if wanted:
            conditions.append(func.lower(column).in_([term.lower() for term in wanted]))
    conditions += [trait_matches(_person.c.traits, test) for test in where.traits]
    text = _person.c.name + " " + _person.c.bio + " " + _person.c.country + " " + _person.c.language
    for word in where.words:
        # Not every store lowers every capital letter; the word as written matches everywhere.
        lower_case = func.lower(text).contains(word.lower(), autoescape=True)
        conditions.append(or_(lower_case, text.contains(word, autoescape=True)))
    return conditions


def get_people(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> list[AnyRow]:
    """Returns those of `ids` that belong to the workspace, in the same order."""
    rows = connection.execute(
        select(_person).where(_person.c.workspace_id == workspace_id, _person.c.id.in_(ids))
    ).all()
    by_id = {row.id: row for row in rows}
    return [by_id[id_] for id_ in ids if id_ in by_id]


def resolve_people(connection: Connection, workspace_id: UUID, refs: Sequence[str]) -> list[UUID]:
    """Returns the ids that `refs` name, in order. Raises ValidationError or NotFound for the first error."""
    return [row.id for row in find_many(connection, workspace_id, Kind.PERSON, refs, "person_ids")]


def sample_people(
    connection: Connection, workspace_id: UUID, count: int, seed: int, where: PeopleFilter = NO_FILTER
) -> list[UUID]:
    """Returns `count` different matching people; the same ones for the same seed and panel."""
    terms = _conditions(workspace_id, where)
    total = _count(connection, terms)
    if count > total and not where.is_empty:
        raise ValidationError(
            f"sample is {count}, but `where` matches {total} of the workspace's "
            f"{count_people(connection, workspace_id)} people.",
            suggestions=("Reduce sample, or remove a condition of `where`.",),
        )
    if count > total:
        raise ValidationError(
            f"sample is {count}, but the workspace has {total} people.",
            suggestions=("Generate more with `understudy people generate N`, or reduce sample.",),
        )
    ranks = random.Random(seed).sample(range(1, total + 1), count)  # noqa: S311 - reproducible, not secret
    in_order = func.row_number().over(order_by=(_person.c.created_at, _person.c.id))
    numbered = select(_person.c.id, type_coerce(in_order, BigInteger).label("place")).where(*terms).subquery()
    drawn = select(numbered).where(bulk_parameters.in_parameter(connection.dialect.name, numbered.c.place))
    by_rank = {row.place: row.id for row in connection.execute(drawn, {bulk_parameters.IDS_PARAM: ranks})}
    return [by_rank[rank] for rank in ranks]
