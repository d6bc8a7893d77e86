"""Reads of participants for requests that wait."""

from uuid import uuid4

import pytest

from tests.factories import StudyStore
from understudy.domain.errors import NotFound, ValidationError
from understudy.store import participants
from understudy.store.engine import Store


@pytest.fixture
def acme(store: Store) -> StudyStore:
    return StudyStore(store)


@pytest.fixture
def other(store: Store) -> StudyStore:
    return StudyStore(store, "other")


def test_terminal_and_non_terminal_participants_are_read_by_id(acme: StudyStore, other: StudyStore) -> None:
    ids = acme.participants(7)
    cancelled = acme.cancel(ids[5], ids[0])
    ended = acme.read(participants.terminal_states, ids)
    assert {(row.id, row.status) for row in ended} == {(id_, "cancelled") for id_ in cancelled}
    assert acme.read(participants.terminal_states, ids[1:5]) == []
    pending = [ids[6], *ids[4:0:-1]]
    assert acme.read(participants.non_terminal_ids, acme.workspace_id, ids[::-1]) == pending
    assert acme.read(participants.non_terminal_ids, other.workspace_id, ids) == []
    assert acme.read(participants.non_terminal_ids, acme.workspace_id, []) == []


def test_references_of_many_requests_are_resolved_at_once(acme: StudyStore, other: StudyStore) -> None:
    a, b, c, d = ids = acme.participants(4)
    alias = {id_: acme.row(id_).alias for id_ in ids}
    (foreign,) = other.participants()
    unknown = str(uuid4())
    cases: dict[tuple[str, ...], object] = {
        tuple(map(str, ids)): ids,
        (alias[b], str(a), str(b)): [b, a],
        (): [],
        (alias[c], unknown): NotFound,
        (str(foreign),): NotFound,
        ("p-",): ValidationError,
        (alias[d], alias[d]): [d],
    }
    requests = [*((acme.workspace_id, refs) for refs in cases), (other.workspace_id, [str(foreign)])]
    *found, (theirs,) = acme.read(participants.resolve_by_request, requests)
    assert theirs.id == foreign
    results = [type(rows) if isinstance(rows, Exception) else [row.id for row in rows] for rows in found]
    assert results == [*cases.values()]
    assert (unknown in str(found[3]), str(foreign) in str(found[4])) == (True, True)


def test_states_of_many_requests_are_read_at_once(acme: StudyStore, other: StudyStore) -> None:
    a, b, c = ids = acme.participants(3)
    (foreign,) = other.participants()
    requests = [(acme.workspace_id, [c, a, foreign]), (other.workspace_id, [foreign, b]), (acme.workspace_id, ids)]
    states = acme.read(participants.states_by_request, requests)
    assert [[row.id for row in rows] for rows in states] == [[c, a], [foreign], ids]
