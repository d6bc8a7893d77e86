"""Every order of competing writes on both stores, for each row of the table of races.

SQLite runs its writers one after the other. On PostgreSQL, the second write begins while the first transaction is
open. In both cases the first one also rolls back.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
from sqlalchemy import Connection, select

from tests.conftest import EmptyStore
from tests.invariants import check_invariants
from tests.open_transaction import TIMEOUT_S, OpenTransaction
from tests.race_table import ORDERS, WRITES, Order, Scene
from understudy.domain.lifecycle import TERMINAL
from understudy.store import engine, lifecycle, stops
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant

_BY_WRITES = {(order.state, order.writes): order for order in ORDERS} | {
    (order.state, ()): Order(order.state, (), "", {}, "") for order in ORDERS
}

#: Store, and whether later writes begin while the first transaction is open.
STORES = {"sqlite": False, "postgresql": True}
CASES = [
    pytest.param(
        store,
        order,
        undo,
        id=f"{order} on {store}{', first undone' if undo else ''}",
    )
    for order in ORDERS
    for store in STORES
    for undo in (False, True)
]


class StoreCache:
    """One store of each kind for all races: creating one takes longer than a race."""

    def __init__(self, create: EmptyStore) -> None:
        self._create = create
        self._opened: dict[str, tuple[Store, ExitStack]] = {}

    def get(self, kind: str) -> Store:
        if kind not in self._opened:
            stack = ExitStack()
            # However busy the machine is, transactions may wait.
            store = Store(stack.enter_context(self._create(kind)), idle_timeout_s=TIMEOUT_S)
            stack.callback(store.dispose)
            self._opened[kind] = store, stack
        return self._opened[kind][0]

    def close(self, kind: str) -> None:
        self._opened.pop(kind)[1].close()

    def close_all(self) -> None:
        for kind in list(self._opened):
            self.close(kind)


@pytest.fixture(scope="module")
def stores(empty_store: EmptyStore) -> Iterator[StoreCache]:
    cache = StoreCache(empty_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "LOCK_TIMEOUT_S", TIMEOUT_S)
        yield cache
    cache.close_all()


@pytest.fixture
def store(request: pytest.FixtureRequest, stores: StoreCache) -> Iterator[Store]:
    """A store in which nothing is active; checks the invariants at the end of the test."""
    opened = stores.get(request.param)
    yield opened
    try:
        check_invariants(opened)
        opened.write(_end_all)
    except BaseException:
        stores.close(request.param)
        raise


def _end_all(connection: Connection) -> None:
    """Ends all participants and records their stops, so that no sweep of a later race finds them."""
    active = connection.scalars(select(_p.c.id).where(_p.c.status.not_in(TERMINAL))).all()
    lifecycle.cancel_any_workspace(connection, active)
    stops.record_stops(connection, -1, 1_000)


def test_table_has_each_order_once() -> None:
    assert len({(order.state, order.writes) for order in ORDERS}) == len(ORDERS)


@pytest.mark.parametrize(("store", "order", "undo"), CASES, indirect=["store"])
def test_competing_writes_in_each_order_have_one_outcome(store: Store, order: Order, undo: bool) -> None:
    overlapping = STORES[store.engine.dialect.name]
    scene = Scene(store, order.state)
    before = scene.view()
    results, met = take_turns(scene, order, overlapping=overlapping, undo=undo)
    expected = _BY_WRITES[order.state, order.writes[1:]] if undo else order
    overtakes = overlapping and order.overlap == "overtakes"
    if overtakes and not undo:
        expected = _BY_WRITES[order.state, order.writes[::-1]]
        results = results[::-1]
    if overlapping:
        assert not met or met in ("passes" if overtakes else order.overlap).split("|")
    after = scene.view()
    changes = {name: value for name, value in after.items() if value != before[name]}
    assert (results[undo:], changes) == (expected.results, expected.changes)


def take_turns(scene: Scene, order: Order, *, overlapping: bool, undo: bool) -> tuple[str, str]:
    """Ends the transactions in the order of the row; returns the results, and how the second write met the locks."""
    with ThreadPoolExecutor(len(order.writes)) as threads:
        begin = partial(_begin, scene, threads)
        first, later = begin(order.writes[0]), order.writes[1:]
        second, met = None, ""
        # Only the second: if two wait, PostgreSQL does not say which of them goes first.
        if overlapping and later:
            first.meet_locks()
            second = begin(later[0])
            met = second.meet_locks()
            if met == "skips":
                # Nothing to write now: its caller repeats it later.
                second.end()
                second = None
        results = [first.end(undo=undo)]
        for write in later:
            results.append((second or begin(write)).end())
            second = None
    return "".join("+" if result else "-" for result in results), met


def _begin(scene: Scene, threads: ThreadPoolExecutor, write: str) -> OpenTransaction:
    return OpenTransaction(scene.study.store, threads, partial(WRITES[write], scene))
