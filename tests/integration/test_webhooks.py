"""Delivery of webhooks to real receivers: order, retries, signatures, bounds. Contract section 6."""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tests.contract.manual_worker import end, run_steps
from tests.factories import at_once, make_participants, make_study, make_workspace
from tests.webhook_receiver import receiver
from understudy.domain.receiver_networks import parse_receiver_networks
from understudy.domain.webhooks import DeliveryStatus, EventType
from understudy.sequencer import assign_positions
from understudy.settings import Settings
from understudy.store import deliveries, dispatch, events, lifecycle, webhooks
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables
from understudy.webhooks.deliverer import MAX_PER_WEBHOOK, Deliverer
from understudy.webhooks.sender import Sender, TimeLimits

SECRET = "whsec_" + "QUJD" * 8
ALL = [str(type_) for type_ in EventType]
LOOPBACK = parse_receiver_networks("loopback")


class World:
    """A workspace with a study, and the webhooks of it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        # A retry is due at once; the period of retries is long.
        self.settings = settings.model_copy(update={"webhook_backoff_s": 0.001})
        self.workspace = make_workspace(store).workspace_id
        self.study, (self.iteration,) = make_study(store, self.workspace)

    def webhook(self, url: str, events: list[str] | None = None) -> UUID:
        id_ = self.store.write(
            lambda connection: webhooks.insert_webhook(connection, self.workspace, url, events or ALL, SECRET)
        )
        assert id_ is not None
        return id_

    def participants(self, count: int = 1) -> list[UUID]:
        return make_participants(self.store, self.workspace, self.study, self.iteration, count)

    def cancel(self, *ids: UUID) -> None:
        self.store.write(lambda connection: lifecycle.cancel(connection, self.workspace, ids))

    def deliver(self, passes: int = 3, networks: str = "loopback", limits: TimeLimits | None = None) -> Deliverer:
        """Runs some passes of a process of its own, each until its attempts have ended."""

        async def run() -> Deliverer:
            deliverer = Deliverer(self.settings, self.store, Sender(parse_receiver_networks(networks), limits=limits))
            for _ in range(passes):
                await deliverer.run_pass()
                await deliverer.finish()
            return deliverer

        return asyncio.run(run())

    def log(self) -> list[Any]:
        table = Tables.delivery
        with self.store.read() as connection:
            return list(connection.execute(select(table).order_by(table.c.position, table.c.id)))

    def make_due(self) -> None:
        """Ends the pauses and the claims."""
        soon = {"due_at": store_clock(-1), "claimed_until": None}
        self.store.write(lambda connection: connection.execute(update(Tables.delivery).values(**soon)))


@pytest.fixture
def world(store: Store, settings: Settings) -> World:
    return World(store, settings)


def test_each_terminal_status_sends_one_signed_event_and_the_run_its_end(world: World) -> None:
    with receiver() as target:
        world.webhook(target.url + "/hook")
        ids = world.participants(3)
        for id_, status in zip(ids, ("completed", "failed", "cancelled"), strict=True):
            end(world.store, run_steps(world.store, id_, 2), status)
        world.deliver()
    messages = [request.verify(SECRET) for request in target.requests]
    of_participants = {message["data"]["id"]: message for message in messages if message["type"] != "run.finished"}
    assert [of_participants[str(id_)]["type"] for id_ in ids] == [
        "participant.completed",
        "participant.failed",
        "participant.cancelled",
    ]
    assert of_participants[str(ids[0])]["data"]["interaction_count"] == 2
    (finished,) = [message["data"] for message in messages if message["type"] == "run.finished"]
    counts = ("participant_count", "completed_count", "failed_count", "cancelled_count")
    assert [finished[name] for name in counts] == [3, 1, 1, 1]
    assert finished["study_id"] == str(world.study)
    assert finished["participant_ids"] == [str(id_) for id_ in ids]
    assert {row.status for row in world.log()} == {"delivered"}


def test_a_release_sends_nothing_and_a_webhook_gets_only_its_types(world: World) -> None:
    with receiver() as target, receiver() as other:
        world.webhook(target.url)
        world.webhook(other.url, ["run.finished"])
        (id_,) = world.participants()
        held = run_steps(world.store, id_, 1)
        world.store.write(lambda connection: lifecycle.release(connection, held, 5))
        world.deliver()
        assert target.requests == []
        end(world.store, run_steps(world.store, id_, 1), "completed")
        world.deliver()
    assert {request.message["type"] for request in target.requests} == {"participant.completed", "run.finished"}
    assert [request.message["type"] for request in other.requests] == ["run.finished"]


def test_a_webhook_gets_no_events_from_before_it(world: World) -> None:
    with receiver() as target:
        first, second = world.participants(2)
        world.cancel(first)
        assign_positions(world.store)
        world.webhook(target.url)
        world.cancel(second)
        world.deliver()
    types = Counter(request.message["type"] for request in target.requests)
    assert types == {"participant.cancelled": 1, "run.finished": 1}


def test_a_later_webhook_gets_no_events_from_before_it(world: World) -> None:
    with receiver() as early, receiver() as late:
        world.webhook(early.url, ["participant.cancelled"])
        first, second = world.participants(2)
        world.cancel(first)
        assign_positions(world.store)
        world.webhook(late.url, ["participant.cancelled"])
        world.cancel(second)
        world.deliver()
    assert {request.participant for request in early.requests} == {str(first), str(second)}
    assert [request.participant for request in late.requests] == [str(second)]


def test_a_run_of_two_that_end_at_once_finishes_once(world: World) -> None:
    world.webhook("http://127.0.0.1:9/", ["run.finished"])
    for _ in range(5):
        first, second = world.participants(2)
        at_once(lambda id_=first: world.cancel(id_), lambda id_=second: world.cancel(id_))
    passes = [lambda: _record(world)] * 3
    at_once(*passes)
    _record(world)
    assert len(world.log()) == 5


def test_a_run_with_an_active_participant_is_not_finished(world: World) -> None:
    world.webhook("http://127.0.0.1:9/", ["run.finished"])
    ended, running, _ = world.participants(3)
    world.cancel(ended)
    run_steps(world.store, running, 1)
    _record(world)
    assert world.log() == []


def test_a_run_finishes_only_with_its_last_event(world: World) -> None:
    world.webhook("http://127.0.0.1:9/")
    first, second = world.participants(2)
    world.cancel(first)
    assign_positions(world.store)
    # Cancelled, but its event has no position yet: it comes with a later batch.
    with world.store.read() as connection:
        batch = deliveries.next_batch(connection, world.workspace)
    assert batch is not None
    world.cancel(second)
    world.store.write(lambda connection: deliveries.record_batch(connection, batch))
    assert [row.type for row in world.log()] == ["participant.cancelled"]
    _record(world)
    assert [row.type for row in world.log()].count("run.finished") == 1


def _record(world: World) -> None:
    assign_positions(world.store, wait_for_lock=True)
    with world.store.read() as connection:
        batch = deliveries.next_batch(connection, world.workspace)
    if batch is not None:
        world.store.write(lambda connection: deliveries.record_batch(connection, batch))


def test_a_batch_that_another_process_recorded_is_not_recorded_again(world: World) -> None:
    world.webhook("http://127.0.0.1:9/")
    world.cancel(*world.participants(2))
    assign_positions(world.store)
    with world.store.read() as connection:
        batch = deliveries.next_batch(connection, world.workspace)
    assert batch is not None

    def record() -> int | None:
        return world.store.write(lambda connection: deliveries.record_batch(connection, batch))

    assert [record(), record()] == [3, None]
    assert len(world.log()) == 3


def test_an_event_that_is_recorded_again_becomes_no_second_delivery(world: World) -> None:
    world.webhook("http://127.0.0.1:9/")
    world.cancel(*world.participants(2))
    _record(world)
    # As if a restored store had lost its cursor.
    world.store.write(lambda connection: connection.execute(Tables.webhook_cursor.delete()))
    _record(world)
    assert len(world.log()) == 3


def test_a_bulk_cancel_of_many_delivers_each_once(world: World) -> None:
    world.webhook("http://127.0.0.1:9/")
    ids = world.participants(events.OUTBOX_THRESHOLD + 20)
    world.cancel(*ids)
    for _ in range(3):
        _record(world)
    types = Counter(row.type for row in world.log())
    assert types == {"participant.cancelled": len(ids), "run.finished": 1}


# -- receivers that fail -----------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [500, 429, 302, 404, None], ids=str)
def test_a_refused_event_is_sent_again_with_the_same_id(world: World, failure: int | None) -> None:
    answers = iter([failure, failure])
    with receiver(lambda _: next(answers, 200)) as target:
        world.webhook(target.url, ["participant.cancelled"])
        world.cancel(*world.participants())
        for _ in range(3):
            world.deliver()
            world.make_due()
    assert len(target.requests) == 3
    assert len({request.id for request in target.requests}) == 1
    (row,) = world.log()
    assert (row.status, row.attempts, row.response_status, row.error) == ("delivered", 3, 200, None)


def test_a_receiver_that_is_down_gets_its_events_once_it_is_up(world: World) -> None:
    with receiver() as target:
        port = target.port
    world.webhook(f"http://127.0.0.1:{port}/", ["participant.cancelled"])
    world.cancel(*world.participants(3))
    world.deliver()
    assert {(row.status, row.response_status) for row in world.log()} == {("pending", None)}
    assert "no connection" in world.log()[0].error
    with receiver(port=port) as target:
        world.make_due()
        # One at a time, until the first success.
        world.deliver(passes=6)
        assert len({request.participant for request in target.requests}) == 3


def test_a_slow_receiver_fails_in_time_and_delays_no_other(world: World) -> None:
    proceed = threading.Event()

    def hold(_: object) -> int:
        proceed.wait(60)
        return 200

    with receiver(hold) as slow, receiver() as fast:
        world.webhook(slow.url, ["participant.cancelled"])
        world.webhook(fast.url, ["participant.cancelled"])
        world.cancel(*world.participants(30))
        world.deliver(passes=4, limits=TimeLimits(5, 0.5, 0.5))
        proceed.set()
    assert len(fast.requests) == 30
    # At most some at once; after the first failure one at a time.
    assert MAX_PER_WEBHOOK <= len(slow.requests) <= MAX_PER_WEBHOOK + 3
    assert {row.status for row in world.log()} == {"pending", "delivered"}


def test_a_delivery_that_fails_for_the_whole_period_is_dead_and_the_next_follows(world: World) -> None:
    with receiver(lambda request: 500 if request.participant == str(first) else 200) as target:
        hook = world.webhook(target.url, ["participant.cancelled"])
        first, second = world.participants(2)
        world.cancel(first, second)
        world.deliver(passes=1)
        long_ago = {"retry_from": store_clock(-world.settings.webhook_retry_s - 1)}
        world.store.write(lambda connection: connection.execute(update(Tables.delivery).values(**long_ago)))
        world.make_due()
        world.deliver()
        by_source = {row.source_id: row for row in world.log()}
        assert (by_source[first].status, by_source[second].status) == ("dead", "delivered")
        assert by_source[first].ended_at is not None
        # A replay starts another period.
        target.behaviour = lambda _: 200
        dead = deliveries.ReplayFilter(hook, status=DeliveryStatus.DEAD, since=by_source[first].occurred_at)
        assert world.store.write(lambda connection: deliveries.replay(connection, dead)) == 1
        world.deliver()
    assert {row.status for row in world.log()} == {"delivered"}


def test_a_failing_delivery_holds_back_later_ones_of_its_participant_only(world: World) -> None:
    hook = world.webhook("http://127.0.0.1:9/")
    ids = world.participants(2)
    world.cancel(*ids)
    _record(world)
    # No participant has two of these events; a later version may send more types.
    first = next(row for row in world.log() if row.source_id == ids[0])
    later = first._asdict() | {"id": UUID(int=7), "type": "participant.later", "position": first.position + 100}
    world.store.write(lambda connection: connection.execute(Tables.delivery.insert().values(**later)))

    def claimed() -> set[tuple[UUID, str]]:
        rows = world.store.write(lambda connection: deliveries.claim(connection, hook, 10))
        return {(row.source_id, row.type) for row in rows}

    assert (ids[0], "participant.later") not in (before := claimed())
    assert {(id_, "participant.cancelled") for id_ in ids} < before
    done = deliveries.Attempt(first.id, 1, None, 200)
    world.store.write(lambda connection: deliveries.settle(connection, done, 60))
    assert claimed() == {(ids[0], "participant.later")}
    world.store.write(lambda c: c.execute(Tables.delivery.delete().where(Tables.delivery.c.id == UUID(int=7))))


# -- several processes -------------------------------------------------------------------------------------


def test_concurrent_claims_are_disjoint_and_end_by_the_clock_of_the_store(world: World) -> None:
    hook = world.webhook("http://127.0.0.1:9/", ["participant.cancelled"])
    world.cancel(*world.participants(20))
    _record(world)

    def claim() -> list[UUID]:
        return [row.id for row in world.store.write(lambda connection: deliveries.claim(connection, hook, 8))]

    claimed = [id_ for ids in at_once(claim, claim, claim, claim) for id_ in ids]
    claimed += claim() + claim()
    assert len(claimed) == len(set(claimed)) == 20
    assert claim() == []
    lapsed = {"claimed_until": store_clock(-1)}
    world.store.write(lambda connection: connection.execute(update(Tables.delivery).values(**lapsed)))
    assert len(claim()) == 8


def test_the_result_of_a_lapsed_claim_is_not_stored(world: World) -> None:
    hook = world.webhook("http://127.0.0.1:9/", ["participant.cancelled"])
    world.cancel(*world.participants())
    _record(world)
    (first,) = world.store.write(lambda connection: deliveries.claim(connection, hook, 8))
    world.make_due()
    (second,) = world.store.write(lambda connection: deliveries.claim(connection, hook, 8))

    def settle(claim_no: int, error: str | None) -> DeliveryStatus | None:
        attempt = deliveries.Attempt(first.id, claim_no, error, 500 if error else 200)
        return world.store.write(lambda connection: deliveries.settle(connection, attempt, 60))

    assert settle(first.claim_no, "late") is None
    assert settle(second.claim_no, None) is DeliveryStatus.DELIVERED
    assert settle(second.claim_no, "again") is None


def test_a_webhook_deleted_during_an_attempt_disturbs_nothing(world: World) -> None:
    def delete(_: object) -> int:
        assert world.store.write(lambda c: webhooks.delete_webhook(c, world.workspace, hook))
        return 200

    with receiver(delete) as target:
        hook = world.webhook(target.url, ["participant.cancelled"])
        world.cancel(*world.participants())
        world.deliver()
    assert world.log() == []


# -- addresses, signatures, contents -----------------------------------------------------------------------


def test_the_address_is_checked_at_each_connection(world: World) -> None:
    with receiver() as target:
        world.webhook(f"http://localhost:{target.port}/", ["participant.cancelled"])
        world.cancel(*world.participants())
        world.deliver(passes=1, networks="public")
        (row,) = world.log()
        assert (row.status, target.requests) == ("pending", [])
        assert "allow list" in row.error
        world.make_due()
        world.deliver()
        assert len(target.requests) == 1


def test_after_a_rotation_both_secrets_verify_until_the_old_one_ends(world: World) -> None:
    with receiver() as target:
        hook = world.webhook(target.url, ["participant.cancelled"])
        new = "whsec_" + "REVG" * 8
        world.store.write(lambda connection: webhooks.rotate_secret(connection, hook, new))
        first, second = world.participants(2)
        world.cancel(first)
        world.deliver()
        over = {"previous_until": store_clock(-1)}
        world.store.write(lambda connection: connection.execute(update(Tables.webhook).values(**over)))
        world.cancel(second)
        world.deliver()
    both, one = target.requests
    assert both.verify(new) == both.verify(SECRET)
    assert len(one.headers["webhook-signature"].split()) == 1
    one.verify(new)
    world.store.write(webhooks.forget_previous_secrets)
    with world.store.read() as connection:
        assert webhooks.get_webhook(connection, world.workspace, hook).previous_secret is None  # type: ignore[union-attr]


def test_an_event_of_a_deleted_participant_is_dead(world: World) -> None:
    with receiver() as target:
        world.webhook(target.url, ["participant.cancelled"])
        world.cancel(*world.participants())
        _record(world)
        gone = update(Tables.delivery).values(source_id=UUID(int=5))
        world.store.write(lambda connection: connection.execute(gone))
        world.deliver()
    (row,) = world.log()
    assert (row.status, row.error, target.requests) == ("dead", "the participant was deleted", [])


def test_an_extend_is_a_dispatch_of_its_own(world: World) -> None:
    with receiver() as target:
        world.webhook(target.url, ["run.finished"])
        (source,) = world.participants()
        world.cancel(source)
        child = world.store.write(lambda c: dispatch.insert_branch(c, world.workspace, source, 3, None))
        assert child is not None
        world.cancel(child.id)
        world.deliver()
    finished = [request.message["data"] for request in target.requests]
    by_source = {one["extended_from"]: one["dispatch_id"] for one in finished}
    assert by_source.keys() == {None, str(source)}
    assert by_source[str(source)] == str(child.dispatch_id)


def test_ended_deliveries_are_deleted_after_a_month(world: World) -> None:
    world.webhook("http://127.0.0.1:9/", ["participant.cancelled"])
    world.cancel(*world.participants(3))
    _record(world)
    old = update(Tables.delivery).values(status="dead", ended_at=store_clock(-31 * 86_400))
    world.store.write(lambda connection: connection.execute(old))
    assert world.store.write(lambda connection: deliveries.delete_old(connection, 2)) == 2
    world.deliver()
    assert world.log() == []


def test_a_receiver_that_hangs_in_its_tls_handshake_keeps_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def send() -> bytes:
            sender = Sender(LOOPBACK, limits=TimeLimits(5, 0.3, 0.3))
            url = f"https://127.0.0.1:{server.getsockname()[1]}/"
            answer = await sender.send(url, {}, "{}")
            assert answer.status is None
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                # The rest of the handshake, then the end of the connection, while the loop still runs.
                return b"" if not connection.recv(100_000) or not connection.recv(100_000) else b"open"

        assert asyncio.run(send()) == b""


def test_a_receiver_that_never_ends_its_answer_is_read_no_further() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(100_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

        endless = threading.Thread(target=answer)
        endless.start()
        sender = Sender(LOOPBACK, limits=TimeLimits(5, 5, 10))
        result = asyncio.run(sender.send(f"http://127.0.0.1:{server.getsockname()[1]}/", {}, "{}"))
        endless.join(30)
    assert (result.status, result.error) == (200, None)
    assert not endless.is_alive()
