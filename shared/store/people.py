"""People: reusable profiles."""

import random
from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, insert, select

from shared.domain.errors import ValidationError
from shared.domain.ids import Kind
from shared.domain.simulation import Person
from shared.store.aliases import assign_aliases, find_many
from shared.store.engine import AnyRow, store_clock
from shared.store.paging import page
from shared.store.schema import Tables

_person = Tables.person


def insert_people(connection: Connection, workspace_id: UUID, people: Sequence[Person]) -> list[UUID]:
    """Store profiles; their ids, in order."""
    ids = [uuid4() for _ in people]
    aliases = assign_aliases(connection, workspace_id, Kind.PERSON, ids)
    now = connection.scalar(select(store_clock()))
    rows = [
        {
            "id": id_,
            "workspace_id": workspace_id,
            "alias": aliases[id_],
            "name": person.name,
            "age": person.age,
            "country": person.country,
            "language": person.language,
            "traits": dict(person.traits),
            "bio": person.bio,
            "created_at": now,
        }
        for id_, person in zip(ids, people, strict=True)
    ]
    if rows:
        connection.execute(insert(_person), rows)
    return ids


def count_people(connection: Connection, workspace_id: UUID) -> int:
    """How many people the workspace has."""
    people = select(func.count()).select_from(_person).where(_person.c.workspace_id == workspace_id)
    return connection.scalar(people) or 0


def page_of_people(
    connection: Connection, workspace_id: UUID, cursor: str | None, limit: int
) -> tuple[list[AnyRow], str | None]:
    """One page of the workspace's people."""
    everyone = select(_person).where(_person.c.workspace_id == workspace_id)
    return page(connection, everyone, _person, cursor, limit)


def people_of(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> list[AnyRow]:
    """Those of `ids` that are this workspace's, in the order given."""
    rows = connection.execute(
        select(_person).where(_person.c.workspace_id == workspace_id, _person.c.id.in_(ids))
    ).all()
    by_id = {row.id: row for row in rows}
    return [by_id[id_] for id_ in ids if id_ in by_id]


def resolve_people(connection: Connection, workspace_id: UUID, refs: Sequence[str]) -> list[UUID]:
    """The ids that `refs` name, in order. Raises ValidationError or NotFound for the first that is wrong."""
    return [row.id for row in find_many(connection, workspace_id, Kind.PERSON, refs, "person_ids")]


def sample_people(connection: Connection, workspace_id: UUID, count: int, seed: int) -> list[UUID]:
    """`count` different people, the same for the same seed and panel."""
    everyone = connection.scalars(
        select(_person.c.id)
        .where(_person.c.workspace_id == workspace_id)
        .order_by(_person.c.created_at, _person.c.id)
    ).all()
    if count > len(everyone):
        raise ValidationError(
            f"sample is {count}, but the workspace has {len(everyone)} people.",
            suggestions=("Generate more with `understudy people generate N`, or ask for fewer.",),
        )
    return random.Random(seed).sample(list(everyone), count)  # noqa: S311 - reproducible, not secret
