"""Requests and places of a workspace in the store: portions of several processes never exceed the limit."""

from functools import partial
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from tests.factories import at_once, make_workspace
from understudy.store.call_limits import RequestGrant, count_places, set_places, take_places, take_requests
from understudy.store.engine import Store
from understudy.store.schema import Tables


def take(store: Store, workspace_id: UUID, per_minute: int, portion: int = 1) -> RequestGrant:
    return store.write(
        partial(take_requests, workspace_id=workspace_id, per_minute=per_minute, portion=portion),
    )


def open_places(store: Store, workspace_id: UUID, process_id: UUID, places: int, limit: int, ttl_s: float = 60) -> bool:
    work = partial(
        take_places,
        workspace_id=workspace_id,
        kind="waits",
        process_id=process_id,
        places=places,
        limit=limit,
        ttl_s=ttl_s,
    )
    return store.write(work)


def held(store: Store, workspace_id: UUID) -> int:
    with store.read() as connection:
        return count_places(connection, workspace_id).get("waits", 0)


def test_take_requests_over_the_rate_tells_when_the_next_is_free(store: Store) -> None:
    acme, rival = (make_workspace(store, name).workspace_id for name in ("acme", "rival"))
    assert take(store, acme, 2, 2) == (2, 0)
    refused = take(store, acme, 2)
    assert refused.requests == 0
    assert 0 < refused.wait_s <= 30
    assert take(store, rival, 2).requests == 1


def test_take_requests_with_few_left_returns_one(store: Store) -> None:
    acme = make_workspace(store).workspace_id
    assert take(store, acme, 10, 8).requests == 8
    assert take(store, acme, 10, 8).requests == 1


def test_concurrent_take_requests_stay_within_the_rate(store: Store) -> None:
    acme = make_workspace(store).workspace_id
    granted = at_once(*[lambda: take(store, acme, 5)] * 8)
    assert sum(grant.requests for grant in granted) == 5


def test_concurrent_take_places_of_several_processes_stay_within_the_limit(store: Store) -> None:
    acme = make_workspace(store).workspace_id
    for _ in range(5):
        taken = at_once(*[lambda: open_places(store, acme, uuid4(), 2, 5)] * 6)
        assert sum(taken) == 2
        assert held(store, acme) == 4
        store.write(lambda connection: connection.execute(Tables.call_place.delete()))


def test_take_places_counts_those_of_the_same_process(store: Store) -> None:
    acme, mine = make_workspace(store).workspace_id, uuid4()
    assert open_places(store, acme, mine, 2, 3)
    assert not open_places(store, acme, mine, 2, 3)
    assert open_places(store, acme, mine, 1, 3)
    assert held(store, acme) == 3


def test_places_of_a_process_that_ended_return_when_they_expire(store: Store) -> None:
    acme = make_workspace(store).workspace_id
    assert open_places(store, acme, uuid4(), 3, 3, ttl_s=-1)
    assert open_places(store, acme, uuid4(), 3, 3)
    assert held(store, acme) == 3


def test_set_places_replaces_own_rows_and_removes_expired_ones(store: Store) -> None:
    acme, mine, other = make_workspace(store).workspace_id, uuid4(), uuid4()
    assert open_places(store, acme, mine, 5, 20)
    assert open_places(store, acme, other, 1, 20)
    assert open_places(store, acme, uuid4(), 1, 20, ttl_s=-1)
    store.write(partial(set_places, process_id=mine, held={(acme, "waits"): 2}, ttl_s=60))
    assert held(store, acme) == 3
    store.write(partial(set_places, process_id=mine, held={}, ttl_s=60))
    with store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(Tables.call_place)) == 1


def test_a_clock_that_was_set_back_holds_nothing_back(store: Store) -> None:
    acme, mine = make_workspace(store).workspace_id, uuid4()
    assert take(store, acme, 1).requests == 1
    assert open_places(store, acme, uuid4(), 3, 3, ttl_s=3600)
    ahead = update(Tables.call_use).values(requests_until=Tables.call_use.c.requests_until + 3600)
    store.write(lambda connection: connection.execute(ahead))
    assert take(store, acme, 1).requests == 1
    assert take(store, acme, 1).requests == 0
    store.write(partial(set_places, process_id=mine, held={}, ttl_s=60))
    assert held(store, acme) == 0
