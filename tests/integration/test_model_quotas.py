"""Model quotas with a real Redis and a real store: scripts, expiry, token counts, and a lost connection."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis

from tests.dedicated_brokers import DedicatedValkey
from tests.factories import StudyStore, make_lease, make_step
from tests.parameters import one_store
from tests.quota_callers import Callers
from understudy.domain.simulation import Usage
from understudy.models import ModelFailed
from understudy.models.quotas import quotas
from understudy.store import lifecycle
from understudy.store.engine import Store

UNAVAILABLE = "redis://127.0.0.1:9/0"
WORKSPACE, STUDY = uuid4(), uuid4()


@one_store
def test_real_server_limits_the_calls_and_tokens_of_all_processes(store: Store, redis_url: str) -> None:
    limits = {"study_calls": 3, "workspace_calls": 4, "workspace_tokens_per_day": 300}
    callers = Callers(store, redis_url, at_once=4, **limits)
    workspace = uuid4()

    async def scene() -> None:
        calls = (callers.call(workspace, UUID(int=number % 5), number % 2, tokens=10) for number in range(30))
        await asyncio.gather(*calls)
        with pytest.raises(ModelFailed, match="used up its 300 tokens of today"):
            await callers.call(workspace, uuid4())

    callers.run(scene)
    assert (callers.admitted, callers.max_active) == (30, 4)


@one_store
def test_slot_of_a_lost_process_expires(store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "SLOT_TTL_S", 1)
    callers = Callers(store, redis_url, study_calls=1)

    async def scene() -> None:
        slot = callers.quota(WORKSPACE, STUDY, 1).place()
        await slot.__aenter__()
        # As if the process were killed: it neither renews nor releases the slot.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await callers.call(WORKSPACE, STUDY)
        await slot.__aexit__(None, None, None)

    callers.run(scene)
    assert callers.admitted == 1


@one_store
def test_slot_of_a_long_call_is_renewed(store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "SLOT_TTL_S", 1)
    monkeypatch.setattr(quotas, "_RENEW_S", 0.1)
    callers = Callers(store, redis_url, study_calls=1)

    async def scene() -> None:
        async with callers.quota(WORKSPACE, STUDY, 1).place():
            call = asyncio.create_task(callers.call(WORKSPACE, STUDY))
            await asyncio.sleep(1.5)
            assert callers.admitted == 0
        await call

    callers.run(scene)


def make_usage(store: Store, tokens: int) -> tuple[UUID, UUID]:
    """A workspace and its study with so many used tokens in the store."""
    study = StudyStore(store)
    step = make_step(0, usage=Usage(1, tokens - 100, 100, 1.5, None, "m"))
    study.write(lifecycle.commit_step, study.must_claim(), step, 0)
    return study.workspace_id, study.study_id


@pytest.mark.parametrize("limit", ["study_tokens", "workspace_tokens_per_day"])
def test_token_counts_come_from_the_store_if_redis_lost_them_or_is_unavailable(
    store: Store, redis_url: str, limit: str
) -> None:
    workspace, study = make_usage(store, 900)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    callers = Callers(store, redis_url, **{limit: 1_000})
    without_redis = Callers(store, UNAVAILABLE, **{limit: 900})

    async def scene() -> None:
        await callers.call(workspace, study, tokens=100)
        with pytest.raises(ModelFailed, match="used up its 1,000 tokens"):
            await callers.call(workspace, study, 1)

    async def scene_without_redis() -> None:
        with pytest.raises(ModelFailed, match="used up its 900 tokens"):
            await without_redis.call(workspace, study)

    callers.run(scene)
    without_redis.run(scene_without_redis)


def test_local_share_follows_from_the_live_workers_in_the_store(store: Store) -> None:
    make_lease(store)
    make_lease(store)
    callers = Callers(store, UNAVAILABLE, at_once=6, study_calls=6)

    async def scene() -> None:
        await asyncio.gather(*(callers.call(WORKSPACE, STUDY, number % 2) for number in range(24)))

    callers.run(scene)
    assert (callers.admitted, callers.max_active) == (24, 6)


@one_store
def test_quotas_reconnect_to_a_restarted_server_and_record_the_tokens_used_since(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "UNAVAILABLE_RETRY_S", 0)
    with DedicatedValkey(tmp_path / "own") as server:
        callers = Callers(store, server.url, study_tokens=1_000)

        async def scene() -> None:
            await callers.call(WORKSPACE, STUDY, tokens=100)
            server.kill()
            await callers.call(WORKSPACE, STUDY, tokens=400)
            server.start()
            await callers.call(WORKSPACE, STUDY, tokens=500)
            with pytest.raises(ModelFailed, match="used up"):
                await callers.call(WORKSPACE, STUDY)

        callers.run(scene)
