"""Model quotas over a fake Redis and a fake store: admission, token counts, and the local share."""

import asyncio
import contextlib
import logging
from typing import Any
from uuid import UUID, uuid4

import fakeredis
import pytest

from tests.quota_callers import Callers
from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.models import ModelFailed
from understudy.models.quotas import quotas
from understudy.store import leases, usage

URL = "redis://fake"
WORKSPACE, STUDY = uuid4(), uuid4()

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeServer:
    """A fake Redis that all processes of this test share."""
    shared = fakeredis.FakeServer()
    monkeypatch.setattr(quotas, "connect_async", lambda *_, **__: fakeredis.FakeAsyncRedis(server=shared))
    return shared


class FakeStore:
    """Answers what the quotas read: two live workers, and the used tokens."""

    used_tokens = reads = 0
    is_available = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leases, "count_live", lambda _: 2)
        monkeypatch.setattr(usage, "tokens_of_study", lambda *_: self.used_tokens)
        monkeypatch.setattr(usage, "tokens_of_workspace", lambda *_: self.used_tokens)

    @contextlib.contextmanager
    def read(self) -> Any:
        self.reads += 1
        if not self.is_available:
            raise ServiceUnavailable("The store is unavailable.")
        yield None


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    return FakeStore(monkeypatch)


@pytest.mark.parametrize(
    ("limits", "studies", "max_active"),
    [
        ({"study_calls": 3}, 1, 3),
        ({"study_calls": 3, "workspace_calls": 4}, 5, 4),
        ({"study_calls": 1}, 5, 5),
        ({}, 1, 40),
    ],
    ids=["study", "workspace", "studies do not wait for each other", "unlimited"],
)
def test_quota_limits_the_calls_of_all_processes(
    store: FakeStore, limits: dict[str, int], studies: int, max_active: int
) -> None:
    callers = Callers(store, URL, at_once=max_active, **limits)

    async def scene() -> None:
        calls = (callers.call(WORKSPACE, UUID(int=number % studies), number % 2) for number in range(40))
        await asyncio.gather(*calls)

    callers.run(scene)
    assert (callers.admitted, callers.max_active) == (40, max_active)


def test_cancelled_call_releases_its_slot_and_cancelled_waiter_leaves_the_queue(store: FakeStore) -> None:
    callers = Callers(store, URL, study_calls=1)
    admitted = {name: asyncio.Event() for name in ("first", "waiter", "last")}

    async def hold(name: str) -> None:
        async with callers.quota(WORKSPACE, STUDY).place():
            admitted[name].set()
            await asyncio.Event().wait()

    async def scene() -> None:
        first = asyncio.create_task(hold("first"))
        await admitted["first"].wait()
        waiter = asyncio.create_task(hold("waiter"))
        await asyncio.sleep(0.3)
        waiter.cancel()
        last = asyncio.create_task(hold("last"))
        first.cancel()
        await admitted["last"].wait()
        last.cancel()
        await asyncio.wait({first, waiter, last})

    callers.run(scene)
    assert not admitted["waiter"].is_set()


@pytest.mark.parametrize(
    ("limit", "message", "other_workspace"),
    [
        ("study_tokens", "This study has used up its 1,000 tokens", WORKSPACE),
        ("workspace_tokens_per_day", "This workspace has used up its 1,000 tokens of today", uuid4()),
    ],
    ids=["study", "workspace"],
)
def test_used_up_tokens_end_the_calls_of_one_scope(
    store: FakeStore, limit: str, message: str, other_workspace: UUID
) -> None:
    callers = Callers(store, URL, **{limit: 1_000})

    async def scene() -> None:
        await callers.call(WORKSPACE, STUDY, 0, tokens=600)
        await callers.call(WORKSPACE, STUDY, 1, tokens=600)
        with pytest.raises(ModelFailed, match=message):
            await callers.call(WORKSPACE, STUDY)
        await callers.call(other_workspace, uuid4())

    callers.run(scene)


def test_missing_token_count_starts_from_the_store(store: FakeStore) -> None:
    callers = Callers(store, URL, study_tokens=1_000)
    store.used_tokens = 900

    async def scene() -> None:
        await callers.call(WORKSPACE, STUDY, tokens=50)
        # Only a missing count is read from the store.
        store.used_tokens = 1_000
        await callers.call(WORKSPACE, STUDY, tokens=50)
        with pytest.raises(ModelFailed, match="used up"):
            await callers.call(WORKSPACE, STUDY)

    callers.run(scene)
    assert store.reads == 1


def test_call_waits_while_neither_redis_nor_the_store_is_available(
    server: fakeredis.FakeServer, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    callers = Callers(store, URL, study_tokens=1_000)
    server.connected = store.is_available = False

    async def scene() -> None:
        call = asyncio.create_task(callers.call(WORKSPACE, STUDY))
        await asyncio.to_thread(wait_until, lambda: store.reads >= 2)
        assert callers.admitted == 0
        store.is_available = True
        await call

    with caplog.at_level(logging.DEBUG, quotas.__name__):
        callers.run(scene)
    assert callers.admitted == 1
    assert "neither Redis nor the store answers" in caplog.text


@pytest.mark.parametrize(("redis_url", "warnings"), [("redis://fake", 1), ("", 0)], ids=["unavailable", "no URL"])
def test_without_redis_each_process_admits_its_local_share(
    server: fakeredis.FakeServer, store: FakeStore, caplog: pytest.LogCaptureFixture, redis_url: str, warnings: int
) -> None:
    server.connected = False
    callers = Callers(store, redis_url, at_once=6, study_calls=6, study_tokens=1_000)

    async def scene() -> None:
        await asyncio.gather(*(callers.call(WORKSPACE, STUDY, number % 2, tokens=1) for number in range(24)))
        store.used_tokens = 1_000
        with pytest.raises(ModelFailed, match="This study has used up"):
            await callers.call(WORKSPACE, uuid4())

    callers.run(scene)
    assert (callers.admitted, callers.max_active) == (24, 6)
    # Once per process: it does not ask again for some seconds.
    assert caplog.text.count("each worker uses its local share") == 2 * warnings


def test_tokens_used_while_redis_is_unavailable_are_recorded_later(
    server: fakeredis.FakeServer, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "UNAVAILABLE_RETRY_S", 0)
    callers = Callers(store, URL, study_tokens=1_000)

    async def scene() -> None:
        await callers.call(WORKSPACE, STUDY, tokens=100)
        server.connected = False
        await callers.call(WORKSPACE, STUDY, tokens=400)
        server.connected = True
        await callers.call(WORKSPACE, STUDY, tokens=500)
        with pytest.raises(ModelFailed, match="used up"):
            await callers.call(WORKSPACE, STUDY)

    callers.run(scene)


def test_quota_before_the_configuration_of_this_process_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas._Process, "make", None)
    with pytest.raises(ModelFailed, match="not configured"):
        quotas.quota_for(WORKSPACE, STUDY)
