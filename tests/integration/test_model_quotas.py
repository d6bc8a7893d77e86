"""Caps on language models: kept by all workers together, and by each one alone while the broker is away."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from tests.factories import make_lease, make_participants, make_study, make_workspace
from tests.integration.test_store_lifecycle import make_step
from understudy.deploy.broker import BrokerServer
from understudy.domain.runs import Step
from understudy.domain.simulation import Usage
from understudy.models import ModelFailed
from understudy.models.profiles import ModelSettings
from understudy.models.quotas import quotas as caps_module
from understudy.models.quotas.quotas import ModelQuotas
from understudy.store import lifecycle
from understudy.store.engine import Store
from understudy.store.guards import Claim

NOWHERE = "redis://127.0.0.1:9/0"


_processes: list[ModelQuotas] = []


def process(store: Store, redis_url: str, **caps: int) -> ModelQuotas:
    """The caps as one process keeps them."""
    _processes.append(ModelQuotas(ModelSettings(**caps), redis_url, store))
    return _processes[-1]


class Town:
    """Processes that keep the same caps."""

    def __init__(self, store: Store, redis_url: str, **caps: int) -> None:
        self._caps = [process(store, redis_url, **caps) for _ in range(2)]
        self.inside = 0
        self.most = 0
        self.let_in = 0

    async def ask(self, process: int, workspace: UUID, study: UUID, tokens: int = 0) -> None:
        """One call."""
        gate = self._caps[process].gate(workspace, study)
        async with gate.place():
            self.let_in += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                await asyncio.sleep(0.01)
                await gate.spent(tokens)
            finally:
                self.inside -= 1


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        try:
            async with asyncio.timeout(60):
                await scene()
        finally:
            while _processes:
                await _processes.pop().close()

    asyncio.run(whole())


def test_so_many_ask_at_a_time_in_all_processes_together(store: Store, redis_url: str) -> None:
    workspace, study = uuid4(), uuid4()
    town = Town(store, redis_url, study_calls=3)

    async def scene() -> None:
        await asyncio.gather(*(town.ask(number % 2, workspace, study) for number in range(40)))

    play(scene)
    assert (town.let_in, town.most) == (40, 3)


def test_a_workspace_is_full_whatever_its_studies_are(store: Store, redis_url: str) -> None:
    workspace = uuid4()
    town = Town(store, redis_url, study_calls=3, workspace_calls=4)

    async def scene() -> None:
        await asyncio.gather(*(town.ask(number % 2, workspace, UUID(int=number % 5)) for number in range(30)))

    play(scene)
    assert (town.let_in, town.most) == (30, 4)


def test_others_do_not_wait_for_those_who_are_full(store: Store, redis_url: str) -> None:
    town = Town(store, redis_url, study_calls=1)

    async def scene() -> None:
        await asyncio.gather(*(town.ask(0, uuid4(), uuid4()) for _ in range(10)))

    play(scene)
    assert town.most > 1


def test_who_is_cancelled_leaves_its_place_and_who_waits_leaves_the_line(store: Store, redis_url: str) -> None:
    workspace, study = uuid4(), uuid4()
    caps = process(store, redis_url, study_calls=1)
    entered = {name: asyncio.Event() for name in ("first", "never", "last")}

    async def hold(name: str) -> None:
        async with caps.gate(workspace, study).place():
            entered[name].set()
            await asyncio.Event().wait()

    async def scene() -> None:
        first = asyncio.create_task(hold("first"))
        await entered["first"].wait()
        never = asyncio.create_task(hold("never"))
        await asyncio.sleep(0.3)
        never.cancel()
        last = asyncio.create_task(hold("last"))
        first.cancel()
        await entered["last"].wait()
        last.cancel()
        await asyncio.wait({first, never, last})

    play(scene)
    assert not entered["never"].is_set()


def test_the_place_of_a_lost_process_is_free_again(
    store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caps_module, "SLOT_TTL_S", 1)
    workspace, study = uuid4(), uuid4()
    town = Town(store, redis_url, study_calls=1)
    lost = process(store, redis_url, study_calls=1)

    async def scene() -> None:
        # Killed inside: nothing is renewed, nobody leaves.
        place = lost.gate(workspace, study).place()
        await place.__aenter__()
        for task in tuple(asyncio.all_tasks() - {asyncio.current_task()}):
            task.cancel()
        await town.ask(0, workspace, study)
        await place.__aexit__(None, None, None)

    play(scene)
    assert town.let_in == 1


def test_a_long_call_keeps_its_place(store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps_module, "SLOT_TTL_S", 2)
    monkeypatch.setattr(caps_module, "_RENEW_S", 0.1)
    workspace, study = uuid4(), uuid4()
    town = Town(store, redis_url, study_calls=1)

    async def scene() -> None:
        async with process(store, redis_url, study_calls=1).gate(workspace, study).place():
            asking = asyncio.create_task(town.ask(0, workspace, study))
            await asyncio.sleep(3)
            assert town.let_in == 0
        await asking

    play(scene)


def test_a_study_ends_where_its_tokens_end(store: Store, redis_url: str) -> None:
    workspace, study = uuid4(), uuid4()
    town = Town(store, redis_url, study_tokens=1_000)

    async def scene() -> None:
        await town.ask(0, workspace, study, tokens=600)
        await town.ask(1, workspace, study, tokens=600)
        with pytest.raises(ModelFailed, match="This study has used up its 1,000 tokens"):
            await town.ask(0, workspace, study)
        # And no other.
        await town.ask(0, workspace, uuid4())

    play(scene)


def test_a_workspace_ends_where_its_tokens_of_the_day_end(store: Store, redis_url: str) -> None:
    workspace = uuid4()
    town = Town(store, redis_url, workspace_tokens_per_day=1_000)

    async def scene() -> None:
        await town.ask(0, workspace, uuid4(), tokens=1_000)
        with pytest.raises(ModelFailed, match="used up its 1,000 tokens of today"):
            await town.ask(1, workspace, uuid4())
        await town.ask(1, uuid4(), uuid4())

    play(scene)


def used_before(store: Store, tokens: int) -> tuple[UUID, UUID]:
    """A workspace and its study that used so many tokens, as the store has it."""
    workspace = make_workspace(store).workspace_id
    study, (iteration,) = make_study(store, workspace)
    (participant,) = make_participants(store, workspace, study, iteration)
    lease = make_lease(store)
    row = store.write(lambda connection: lifecycle.claim(connection, participant, lease))
    assert row is not None
    step: Step = make_step(0, usage=Usage(1, tokens - 100, 100, 1.5, None, "m"))
    store.write(lambda connection: lifecycle.commit_step(connection, Claim(row.id, row.epoch), step, 0))
    return workspace, study


@pytest.mark.parametrize("cap", ["study_tokens", "workspace_tokens_per_day"])
def test_a_broker_that_forgot_learns_from_the_store_what_was_used(store: Store, redis_url: str, cap: str) -> None:
    workspace, study = used_before(store, 900)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    town = Town(store, redis_url, **{cap: 1_000})

    async def scene() -> None:
        await town.ask(0, workspace, study, tokens=100)
        with pytest.raises(ModelFailed, match="used up its 1,000 tokens"):
            await town.ask(1, workspace, study)

    play(scene)


def test_without_a_broker_each_process_lets_in_its_share(store: Store) -> None:
    # Two workers live.
    make_lease(store)
    make_lease(store)
    workspace, study = uuid4(), uuid4()
    town = Town(store, NOWHERE, study_calls=6)

    async def scene() -> None:
        await asyncio.gather(*(town.ask(number % 2, workspace, study) for number in range(24)))

    play(scene)
    assert (town.let_in, town.most) == (24, 6)


def test_without_a_broker_the_store_says_what_was_used(store: Store) -> None:
    workspace, study = used_before(store, 1_000)
    town = Town(store, NOWHERE, study_tokens=1_000)

    async def scene() -> None:
        with pytest.raises(ModelFailed, match="This study has used up"):
            await town.ask(0, workspace, study)

    play(scene)


def test_a_broker_that_comes_back_is_told_what_it_missed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caps_module, "UNAVAILABLE_RETRY_S", 0)
    workspace, study = uuid4(), uuid4()
    with BrokerServer(tmp_path / "one") as server:
        caps = process(store, server.url, study_tokens=1_000)
        gate = caps.gate(workspace, study)

        async def scene() -> None:
            async with gate.place():
                await gate.spent(100)
            server.stop()
            async with gate.place():
                await gate.spent(400)
            server.start()
            await caps._redis.aclose()
            caps._redis = None
            caps._notices_url = server.url
            async with gate.place():
                await gate.spent(500)
            with pytest.raises(ModelFailed, match="used up"):
                async with gate.place():
                    pass

        play(scene)


def test_without_caps_nobody_is_asked(store: Store) -> None:
    town = Town(store, NOWHERE)

    async def scene() -> None:
        await asyncio.gather(*(town.ask(0, uuid4(), uuid4()) for _ in range(50)))

    play(scene)
    assert town.most == 50
