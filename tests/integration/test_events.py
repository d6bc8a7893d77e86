"""Events reach their readers once and in order, with many writers, readers and reconnects."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from tests.contract.manual_worker import end, make_run, run_steps, run_to_end
from tests.event_client import EventListener, open_stream
from tests.http_client import ApiClient
from tests.servers import serve_in_thread, wait_until
from understudy import sequencer
from understudy.api.app import create_app
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.ids import Kind
from understudy.service import events as service
from understudy.service.event_subscribers import MAX_BUFFERED, Event, EventScope, EventSubscriber
from understudy.service.events import EventHub
from understudy.settings import Settings
from understudy.store import events, lifecycle, stops
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant


def seqs_of(store: Store, ids: Sequence[UUID]) -> dict[UUID, list[int]]:
    """The seqs that each of them has used."""
    with store.read() as connection:
        rows = connection.execute(select(_p.c.id, _p.c.seq).where(_p.c.id.in_(ids)))
        return {row.id: list(range(1, row.seq + 1)) for row in rows}


@pytest.fixture
def study(store: Store, acme: ApiClient) -> tuple[UUID, list[UUID]]:
    return make_run(store, acme, 40, max_interactions=50)


def live(store: Store, workspace_id: UUID, ids: Sequence[UUID], seed: int) -> None:
    """Runs of all of them, some cancelled on the way."""
    chance = random.Random(seed)
    for id_ in ids:
        held = run_steps(store, id_, chance.randint(0, 8))
        if chance.random() < 0.3:
            store.write(lambda connection, id_=id_: lifecycle.cancel(connection, workspace_id, [id_]))
            store.write(lambda c, id_=id_, held=held: stops.record_stop(c, id_, claim=held))
        else:
            end(store, held, chance.choice(["completed", "failed"]))


def test_readers_of_two_servers_get_each_event_once_and_in_order_across_restarts(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if each were cancelled together with many others.
    monkeypatch.setattr(events, "OUTBOX_THRESHOLD", 1)
    study_id, ids = study
    apis = [acme.api]
    with contextlib.ExitStack() as stack:

        def start_second() -> contextlib.ExitStack:
            running = stack.enter_context(contextlib.ExitStack())
            apis[1:] = [running.enter_context(serve_in_thread(create_app(settings)))]
            return running

        second = start_second()
        listeners = [
            *(EventListener(acme, apis, seed, study_id=study_id) for seed in (1, 2)),
            EventListener(acme, apis, 3, participant_id=ids[7]),
        ]
        try:
            with ThreadPoolExecutor(4) as writers:
                parts = [ids[start::4] for start in range(4)]
                writing = [
                    writers.submit(live, store, acme.workspace_id, part, seed) for seed, part in enumerate(parts)
                ]
                listeners[0].wait_for(80)
                second.close()
                second = start_second()
                for written in writing:
                    written.result(90)
            expected = seqs_of(store, ids)
            count = sum(map(len, expected.values()))
            for listener in listeners[:2]:
                listener.wait_for(count)
            listeners[2].wait_for(len(expected[ids[7]]))
        finally:
            for listener in listeners:
                listener.stop()
    assert [told.id for told in listeners[0].heard] == list(range(1, count + 1))
    assert listeners[0].heard == listeners[1].heard
    assert listeners[0].by_participant() == expected
    assert listeners[2].by_participant() == {ids[7]: expected[ids[7]]}
    assert min(listener.connections for listener in listeners[:2]) > 2


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_event_that_is_committed_late_is_sent_later_and_in_order(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]]
) -> None:
    study_id, (late, other, *_) = study
    held = run_steps(store, late, 1)
    with open_stream(acme, study_id=study_id) as told:
        assert len(list(itertools.islice(told, 42))) == 42
        with store.engine.begin() as connection:
            assert lifecycle.release(connection, held, 1)
            run_to_end(store, other, 1)
            of_other = list(itertools.islice(told, 3))
        last = next(told)
    assert [one.data["participant_id"] for one in of_other] == [str(other)] * 3
    assert (last.data["participant_id"], last.data["seq"]) == (str(late), 4)
    assert last.data["reason"] == "released"


# -- the hub itself ----------------------------------------------------------------------------------------


async def collect(stream: AsyncGenerator[Sequence[Event]], into: list[int], count: int) -> None:
    async for batch in stream:
        into += [one.position for one in batch]
        if len(into) >= count:
            return


def test_subscriber_buffers_a_bounded_number_of_events() -> None:
    async def scene() -> None:
        reader = EventSubscriber()
        states = []
        for position in range(1, 3 * MAX_BUFFERED):
            reader.push(Event(position, "status", "{}"))
            states.append((len(reader.buffer), reader.missed))
        kept = [(count, False) for count in range(1, MAX_BUFFERED + 1)]
        assert states == kept + [(0, True)] * (2 * MAX_BUFFERED - 1)
        reader.reset()
        reader.push(Event(1, "status", "{}"))
        assert reader.take(after=1) == []

    asyncio.run(scene())


def test_slow_reader_continues_from_the_store_and_delays_no_other(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.service.event_subscribers.MAX_BUFFERED", 10)
    monkeypatch.setattr(service, "PAGE", 10)
    monkeypatch.setattr(service, "POLL_INTERVAL_S", 0.01)
    study_id, ids = study
    scope = EventScope(acme.workspace_id, Kind.STUDY, study_id)

    async def scene() -> tuple[list[int], list[int], int]:
        hub = EventHub(store, 2)
        slow, fast = (hub.follow(scope, 0) for _ in range(2))
        slow_heard: list[int] = []
        fast_heard: list[int] = []
        try:
            await collect(slow, slow_heard, 40)
            # From here on the slow reader does not read.
            reading = asyncio.create_task(collect(fast, fast_heard, 40 + 12 * 4))
            await asyncio.to_thread(lambda: [run_to_end(store, id_, 2) for id_ in ids[:12]])
            await asyncio.wait_for(reading, 60)
            kept = [
                len(reader.buffer)
                for workspace in hub._workspaces.values()
                for readers in workspace.readers.values()
                for reader in readers
            ]
            await asyncio.wait_for(collect(slow, slow_heard, 40 + 12 * 4), 60)
        finally:
            await slow.aclose()
            await fast.aclose()
            await hub.close()
        return slow_heard, fast_heard, max(kept)

    slow_heard, fast_heard, kept = asyncio.run(scene())
    assert slow_heard == fast_heard == list(range(1, 89))
    assert kept <= 10


def test_readers_that_caught_up_share_one_read_of_the_store(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "POLL_INTERVAL_S", 0.01)
    study_id, ids = study
    scope = EventScope(acme.workspace_id, Kind.STUDY, study_id)
    read = events.events_after
    pages = 0

    def count(*arguments: Any, **options: Any) -> Any:
        nonlocal pages
        pages += "of" in options
        return read(*arguments, **options)

    monkeypatch.setattr(events, "events_after", count)

    async def scene() -> int:
        hub = EventHub(store, 30)
        streams = [hub.follow(scope, 0) for _ in range(30)]
        heard: list[list[int]] = [[] for _ in streams]
        try:
            await asyncio.gather(*map(collect, streams, heard, itertools.repeat(40)))
            # More events, to be past the first read of the hub.
            await asyncio.to_thread(run_to_end, store, ids[0], 1)
            await asyncio.gather(*map(collect, streams, heard, itertools.repeat(43)))
            before = pages
            await asyncio.to_thread(lambda: [run_to_end(store, id_, 1) for id_ in ids[1:6]])
            await asyncio.gather(*map(collect, streams, heard, itertools.repeat(58)))
            assert all(one == list(range(1, 59)) for one in heard)
            assert hub.readers == 30
        finally:
            for stream in streams:
                await stream.aclose()
            await hub.close()
        assert hub.readers == 0
        return pages - before

    assert asyncio.run(scene()) == 0


def test_stream_survives_an_unavailable_store_and_failed_reads(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_S", 0.05)
    study_id, (one, other, *_) = study
    app = create_app(settings)
    trouble: list[Exception] = []
    failures = 0

    def failing(work: Any) -> Any:
        def do(*arguments: Any, **options: Any) -> Any:
            nonlocal failures
            if trouble:
                failures += 1
                raise trouble[0]
            return work(*arguments, **options)

        return do

    def suffer(error: Exception, id_: UUID) -> None:
        trouble.append(error)
        seen = failures
        run_to_end(store, id_, 1)
        wait_until(lambda: failures > seen + 3)
        trouble.clear()

    with serve_in_thread(app) as api, open_stream(acme, api=api, study_id=study_id) as told:
        heard = list(itertools.islice(told, 40))
        with monkeypatch.context() as patch:
            # The token cannot be looked up either.
            here = app.state.service.store
            patch.setattr(here, "read", failing(here.read))
            suffer(ServiceUnavailable("The store does not answer."), one)
            heard += list(itertools.islice(told, 3))
        monkeypatch.setattr(service, "assign_positions", failing(sequencer.assign_positions))
        suffer(RuntimeError("An unexpected error."), other)
        heard += list(itertools.islice(told, 3))
    assert [one.id for one in heard] == list(range(1, 47))


def test_closed_hub_ends_its_streams_and_accepts_no_more(store: Store, acme: ApiClient) -> None:
    scope = EventScope(uuid4(), Kind.STUDY, uuid4())

    async def scene() -> None:
        hub = EventHub(store, 2)
        stream = hub.follow(scope, 0)
        assert await anext(stream) == ()
        ending = asyncio.create_task(collect(stream, [], 1))
        await asyncio.sleep(0.05)
        hub.close_streams()
        await asyncio.wait_for(ending, 30)
        with pytest.raises(ServiceUnavailable):
            await anext(hub.follow(scope, 0))
        await hub.close()

    asyncio.run(scene())
