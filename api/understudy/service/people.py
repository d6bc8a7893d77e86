"""Creates, generates, lists and exports people. Source: contract section 6."""

import secrets
from collections.abc import Sequence
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
    BuiltInPanelRequest,
    CsvRequest,
    GenerateRequest,
    PeopleRequest,
    PersonCreateRequest,
    PersonRequest,
)
from understudy.service import Service
from understudy.service.panels import built_in_panel, read_csv
from understudy.store import people
from understudy.store.aliases import find
from understudy.store.engine import AnyRow


def create(service: Service, workspace_id: UUID, request: PersonCreateRequest) -> PersonEnvelope | People:
    """Creates one person or several from any form of request, all or none. Raises ValidationError."""
    match request:
        case PersonRequest():
            return create_people(service, workspace_id, [request])[0]
        case PeopleRequest():
            made = create_people(service, workspace_id, request.people)
        case CsvRequest():
            made = create_people(service, workspace_id, read_csv(request.csv))
        case BuiltInPanelRequest():
            made = create_people(service, workspace_id, built_in_panel(request.panel))
        case _:
            made = generate(service, workspace_id, request)
    return People(items=made)


def create_people(service: Service, workspace_id: UUID, requests: Sequence[PersonRequest]) -> list[PersonEnvelope]:
    """Stores profiles, all or none."""
    return _store(service, workspace_id, [Person(**request.model_dump()) for request in requests])


def generate(service: Service, workspace_id: UUID, request: GenerateRequest) -> list[PersonEnvelope]:
    """Generates a varied panel; the same seed gives the same panel."""
    seed = secrets.randbits(31) if request.seed is None else request.seed
    return _store(service, workspace_id, generate_people(request.generate, seed))


def _store(service: Service, workspace_id: UUID, made: Sequence[Person]) -> list[PersonEnvelope]:
    with faults.fault_site("create.commit"):
        ids = service.store.write(lambda connection: people.insert_people(connection, workspace_id, made))
    with service.store.read() as connection:
        return [_person(row) for row in people.get_people(connection, workspace_id, ids)]


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
        raise ValidationError(
            f"An export has at most {MAX_PEOPLE:,} people; {count:,} match.",
            suggestions=("Filter by age, country, trait or search, or read the list page by page.",),
        )
    return Panel(people=[Profile.model_validate(row, from_attributes=True) for row in rows])


def _person(row: AnyRow) -> PersonEnvelope:
    return PersonEnvelope.model_validate(row, from_attributes=True)
