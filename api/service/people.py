"""People of a workspace: create, generate, list. Source: contract section 6."""

import secrets
from collections.abc import Sequence
from uuid import UUID

from api.requests import GenerateRequest, PersonRequest
from api.service import Service
from shared import envelopes, faults
from shared.domain.ids import Kind
from shared.domain.people import generate_people
from shared.domain.simulation import Person
from shared.store import people
from shared.store.aliases import find
from shared.store.engine import AnyRow


def create_people(
    service: Service, workspace_id: UUID, requests: Sequence[PersonRequest]
) -> list[envelopes.Person]:
    """Store profiles, all or none."""
    return _store(service, workspace_id, [Person(**request.model_dump()) for request in requests])


def generate(service: Service, workspace_id: UUID, request: GenerateRequest) -> list[envelopes.Person]:
    """Make up a varied panel; the same one for the same seed."""
    seed = secrets.randbits(31) if request.seed is None else request.seed
    return _store(service, workspace_id, generate_people(request.generate, seed))


def _store(service: Service, workspace_id: UUID, made: Sequence[Person]) -> list[envelopes.Person]:
    with faults.around("create.commit"):
        ids = service.store.write(lambda connection: people.insert_people(connection, workspace_id, made))
    with service.store.read() as connection:
        return [_person(row) for row in people.people_of(connection, workspace_id, ids)]


def get_person(service: Service, workspace_id: UUID, ref: str) -> envelopes.Person:
    """One profile. Raises NotFound."""
    with service.store.read() as connection:
        return _person(find(connection, workspace_id, Kind.PERSON, ref, "person_id"))


def list_people(
    service: Service, workspace_id: UUID, cursor: str | None, limit: int
) -> envelopes.Page[envelopes.Person]:
    """A page of profiles, in order of creation."""
    with service.store.read() as connection:
        rows, following = people.page_of_people(connection, workspace_id, cursor, limit)
    return envelopes.Page(items=[_person(row) for row in rows], next_cursor=following)


def _person(row: AnyRow) -> envelopes.Person:
    return envelopes.Person.model_validate(row, from_attributes=True)
