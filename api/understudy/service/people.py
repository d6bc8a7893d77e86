"""Creates, generates, lists and exports people. Source: contract section 6."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from understudy import faults
from understudy.domain.errors import ValidationError
from understudy.domain.filters import NO_FILTER, PeopleFilter
from understudy.domain.ids import Kind
from understudy.domain.people import generate_people
from understudy.domain.simulation import Person
from understudy.envelopes.base import Page
from understudy.envelopes.people import Panel, People, Profile
from understudy.envelopes.people import Person as PersonEnvelope
from understudy.operations.requests import (
    MAX_PEOPLE,
    MAX_PEOPLE_BYTES,
    BuiltInPanelRequest,
    CsvRequest,
    PeopleRequest,
    PersonCreateRequest,
    PersonRequest,
)
from understudy.service import Service
from understudy.service.call import Call
from understudy.service.panels import built_in_panel, read_csv
from understudy.service.starts import Start, meaning_of, start_once
from understudy.store import Connection, people
from understudy.store.aliases import find
from understudy.store.engine import AnyRow


def create(call: Call, request: PersonCreateRequest) -> PersonEnvelope | People:
    """Creates one person or several from any form of request, all or none.

    A call repeated with its key returns the people of the first one. Raises ValidationError, Conflict.
    """
    profiles = _profiles(request)

    def work(connection: Connection) -> list[UUID]:
        def insert() -> dict[str, Any]:
            return {"person_ids": [str(id_) for id_ in people.insert_people(connection, call.workspace_id, profiles)]}

        start = Start("person_create", None, partial(meaning_of, request))
        return list(map(UUID, start_once(connection, call, start, request, insert)["person_ids"]))

    with faults.fault_site("create.commit"):
        ids = call.service.store.write(work)
    with call.service.store.read() as connection:
        made = [_person(row) for row in people.get_people(connection, call.workspace_id, ids)]
    return made[0] if isinstance(request, PersonRequest) else People(items=made)


def _profiles(request: PersonCreateRequest) -> Sequence[Person]:
    match request:
        case PersonRequest():
            requests: Sequence[PersonRequest] = [request]
        case PeopleRequest():
            requests = request.people
        case CsvRequest():
            requests = read_csv(request.csv)
        case BuiltInPanelRequest():
            requests = built_in_panel(request.panel)
        case _:
            return generate_people(request.generate, secrets.randbits(31) if request.seed is None else request.seed)
    return [Person(**person.model_dump()) for person in requests]


def get_person(service: Service, workspace_id: UUID, ref: str) -> PersonEnvelope:
    """Returns one profile. Raises NotFound."""
    with service.store.read() as connection:
        return _person(find(connection, workspace_id, Kind.PERSON, ref, "person_id"))


def list_people(
    service: Service, workspace_id: UUID, cursor: str | None, limit: int, where: PeopleFilter = NO_FILTER
) -> Page[PersonEnvelope]:
    """Returns a page of the profiles that match `where`, in order of creation."""
    with service.store.read() as connection:
        rows, following = people.page_of_people(connection, workspace_id, cursor, limit, where)
    return Page(items=[_person(row) for row in rows], next_cursor=following)


def export_people(service: Service, workspace_id: UUID, where: PeopleFilter = NO_FILTER) -> Panel:
    """Returns all profiles that match `where`. Raises ValidationError for more than `create` takes."""
    with service.store.read() as connection:
        count, rows = people.find_people(connection, workspace_id, where, MAX_PEOPLE)
        if count > MAX_PEOPLE:
            raise _too_large(f"{MAX_PEOPLE:,} people; {count:,} match")
        panel: list[Profile] = []
        size = 0
        for row in rows:
            panel.append(Profile.model_validate(row, from_attributes=True))
            size += len(panel[-1].model_dump_json().encode())
            if size > MAX_PEOPLE_BYTES:
                raise _too_large(f"{MAX_PEOPLE_BYTES // 2**20} MiB; the {count:,} people that match have more")
    return Panel(people=panel)


def _too_large(bound: str) -> ValidationError:
    return ValidationError(
        f"An export has at most {bound}.",
        suggestions=("Filter by age, country, trait or search, or read the list page by page.",),
    )


def _person(row: AnyRow) -> PersonEnvelope:
    return PersonEnvelope.model_validate(row, from_attributes=True)
