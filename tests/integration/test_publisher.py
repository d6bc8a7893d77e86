"""The publisher while a real broker goes and comes, and the sweeper that publishes what is unpublished or lost.

`tests/unit/test_publisher.py` has what needs no server.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from tests.dedicated_brokers import DedicatedBroker, depth, empty
from tests.factories import StudyStore, make_lease
from tests.parameters import one_store
from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.leases import MAX_LEASE_TTL_S
from understudy.domain.queues import QUEUE_PRIORITY, Queue
from understudy.queue.celery.app import create_celery
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.settings import Settings
from understudy.store import leases, lifecycle, window
from understudy.store.engine import Store, store_clock, store_time
from understudy.store.schema import Tables
from understudy.worker.sweeper import Sweeper

_p = Tables.participant


class PublishedStudy(StudyStore):
    """A study with three unpublished participants, a publisher and a sweeper."""

    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(store)
        self.settings = settings
        self.publisher = Publisher(create_celery(settings.broker_url), store)
        self.notifier = Notifier(settings.notifications_url)
        self.sweeper = Sweeper(settings, store, self.publisher, self.notifier)
        self.ids = self.participants(3)

    def close(self) -> None:
        self.publisher.close()
        self.notifier.close()

    def sweep(self) -> bool:
        """Sweeps once; returns whether there is more to publish."""
        self.sweeper.recover()
        self.sweeper._republish_at = 0
        return self.sweeper.publish() == 0

    def set_published(self, seconds_ago: float, *where: Any) -> None:
        values = update(_p).where(*where).values(dispatched_at=store_clock(-seconds_ago))
        self.write(Connection.execute, values)

    def dispatches(self) -> list[int]:
        """How often the message of each participant was published."""
        return [row.dispatch_no for row in self.rows()]

    def depth(self, queue: Queue = Queue.RUNS) -> int:
        return depth(self.settings.broker_url, queue)


@pytest.fixture
def study(settings: Settings, store: Store) -> Iterator[PublishedStudy]:
    made = PublishedStudy(settings, store)
    yield made
    made.close()


# -- outages -----------------------------------------------------------------------------------------------


@pytest.fixture
def own_study(settings: Settings, store: Store, broker: DedicatedBroker) -> Iterator[PublishedStudy]:
    """The same with a broker of its own."""
    made = PublishedStudy(settings.model_copy(update={"broker_url": broker.url}), store)
    yield made
    made.close()


def wait_for_aborts(publisher: Publisher) -> None:
    """Waits until the aborts that were enqueued are sent."""
    publisher._aborts.submit(lambda: None).result()


@one_store
def test_messages_remain_unpublished_during_an_outage_of_the_broker_and_are_sent_later(
    own_study: PublishedStudy, broker: DedicatedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = own_study.publisher
    broker.kill()
    assert publisher.refill(9).sent == 0
    assert {row.dispatched_at for row in own_study.rows()} == {None}
    with pytest.raises(BROKER_ERRORS):
        publisher.ping()
    own_study.sweep()
    assert own_study.dispatches() == [1, 1, 1], "the sweeper reserves no message for an unavailable broker"
    publisher.enqueue_aborts(own_study.ids)
    publisher.enqueue_stop_tasks(own_study.ids)
    own_study.notifier.enqueue(own_study.ids)
    for warning in ("cannot publish aborts", "cannot publish stop tasks"):
        wait_until(lambda warning=warning: warning in caplog.text, 30)
    broker.start()
    wait_until(lambda: own_study.sweep() or own_study.depth() == 3)


@one_store
def test_close_ends_although_the_broker_disappeared_from_an_open_connection(
    own_study: PublishedStudy, broker: DedicatedBroker
) -> None:
    own_study.publisher.enqueue_aborts(own_study.ids)
    wait_for_aborts(own_study.publisher)
    broker.kill()
    own_study.publisher.enqueue_aborts(own_study.ids)
    own_study.publisher.enqueue_stop_tasks(own_study.ids)
    closing = threading.Thread(target=own_study.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


@one_store
def test_abort_is_sent_on_a_new_connection_after_a_restart_of_the_broker(
    own_study: PublishedStudy, broker: DedicatedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    own_study.publisher.enqueue_aborts(own_study.ids)
    wait_for_aborts(own_study.publisher)
    broker.kill()
    broker.start()
    own_study.publisher.enqueue_aborts(own_study.ids)
    wait_for_aborts(own_study.publisher)
    assert "cannot publish aborts" not in caplog.text


# -- the sweeper -------------------------------------------------------------------------------------------


def test_overdue_message_is_lost_only_if_its_queue_is_empty(study: PublishedStudy) -> None:
    study.publisher.refill(9)
    study.set_published(3600)
    study.sweep()
    assert study.dispatches() == [1, 1, 1]
    empty(study.settings.broker_url)
    study.sweep()
    assert study.dispatches() == [2, 2, 2]
    assert study.depth() == 3


def test_message_overtaken_by_more_than_the_margin_is_sent_again_once(study: PublishedStudy) -> None:
    study.publisher.refill(9)
    study.set_published(3600)
    study.must_claim(study.ids[-1])
    study.set_published(3600 - 4, _p.c.status == "running")
    study.sweep()
    # Concurrent publishers interleave their messages within a few seconds.
    assert study.dispatches() == [1, 1, 1]
    study.set_published(3600 - 6, _p.c.status == "running")
    study.sweep()
    study.sweep()
    assert study.dispatches() == [2, 2, 1]


def test_claim_of_a_clock_that_was_set_back_overtakes_nothing(study: PublishedStudy) -> None:
    """Every message that is published later would seem to be older, again and again."""
    study.publisher.refill(9)
    study.set_published(3600)
    study.must_claim(study.ids[-1])
    study.set_published(-3600, _p.c.status == "running")
    study.sweep()
    assert study.dispatches() == [1, 1, 1]


def test_all_messages_of_a_lost_queue_are_sent_again(study: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those beyond the batch of the first sweep, after which the queue is no longer empty."""
    monkeypatch.setattr("understudy.worker.sweeper.BATCH_SIZE", 2)
    study.publisher.refill(9)
    study.set_published(3600)
    empty(study.settings.broker_url)
    assert (study.sweep(), study.depth()) == (True, 2)
    assert (study.sweep(), study.depth()) == (False, 3)
    study.sweep()
    assert study.dispatches() == [2, 2, 2]


def test_sweeper_publishes_each_message_once_and_a_batch_per_sweep(
    study: PublishedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.worker.sweeper.BATCH_SIZE", 2)
    assert [study.sweep() for _ in range(3)] == [True, False, False]
    assert (study.depth(), study.publisher.queue_depth(Queue.RUNS)) == (3, 3)


def test_sweeper_polls_less_often_while_a_limit_lets_nothing_run(study: PublishedStudy) -> None:
    study.write(Connection.execute, update(Tables.workspace).values(max_running=1))
    pauses = [study.sweeper.publish() for _ in range(5)]
    assert pauses == [0.05, 0.1, 0.2, 0.25, 0.25]
    claim = study.must_claim(study.ids[0])
    study.write(lifecycle.complete, claim, None, 1)
    assert study.sweeper.publish() == 0.05


def test_messages_of_queues_that_are_consumed_first_are_published_first(study: PublishedStudy) -> None:
    by_queue = dict(zip(QUEUE_PRIORITY, study.ids, strict=True))
    for queue, id_ in by_queue.items():
        study.write(Connection.execute, update(_p).where(_p.c.id == id_).values(queue=str(queue)))
    messages = study.write(window.refill, 9).messages
    assert [(one.participant_id, one.queue) for one in messages] == [(id_, queue) for queue, id_ in by_queue.items()]


@pytest.mark.parametrize("is_slow", [False, True], ids=["unavailable", "slow"])
def test_after_an_unavailable_or_slow_store_workers_renew_their_leases_before_recovery(
    study: PublishedStudy, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """All leases have expired meanwhile. A live worker releases its runs, which costs no attempt."""
    study.must_claim(study.ids[0])
    study.expire_lease()
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr("understudy.worker.sweeper.time", SimpleNamespace(monotonic=lambda: clock.now))
    first_write = pytest.MonkeyPatch()

    def write(work: Any) -> Any:
        first_write.undo()
        if not is_slow:
            raise ServiceUnavailable("The store is unavailable.")
        clock.now += study.settings.sweep_interval_s + 0.1
        return study.store.write(work)

    first_write.setattr(study.store, "write", write)
    with contextlib.suppress(ServiceUnavailable):
        study.sweeper.recover()
    study.sweep()
    assert study.row(study.ids[0]).status == "running"
    clock.now += study.settings.heartbeat_interval_s
    study.sweep()
    row = study.row(study.ids[0])
    assert (row.status, row.attempt) == ("pending", 1)


def test_lease_of_a_clock_that_was_set_back_is_shortened_to_the_ttl(study: PublishedStudy) -> None:
    """Its dead worker's runs would wait until the clock has caught up; a live worker renews it in time."""
    ahead, longest = make_lease(study.store, 3600), make_lease(study.store, MAX_LEASE_TTL_S - 1)
    study.must_claim(study.ids[0], ahead)
    study.sweep()
    ttl_s = study.settings.lease_ttl_s
    with study.store.read() as connection:
        now = store_time(connection)
        rows = connection.execute(select(Tables.lease.c.id, Tables.lease.c.expires_at))
        ends = {row.id: row.expires_at for row in rows}
    assert ends[ahead] <= now + timedelta(seconds=ttl_s)
    assert ends[longest] > now + timedelta(seconds=MAX_LEASE_TTL_S / 2)
    assert study.write(leases.renew_lease, ahead, ttl_s), "its worker is not disturbed"
    assert study.row(study.ids[0]).status == "running"


@pytest.mark.parametrize("is_slow", [False, True], ids=["unavailable now and then", "slow"])
def test_store_that_stays_slow_or_unavailable_postpones_recovery_once(
    study: PublishedStudy, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    study.must_claim(study.ids[0])
    study.expire_lease()
    clock = SimpleNamespace(now=time.monotonic(), calls=0)
    monkeypatch.setattr("understudy.worker.sweeper.time", SimpleNamespace(monotonic=lambda: clock.now))
    write = study.store.write

    def write_slowly(work: Any) -> Any:
        clock.calls += 1
        clock.now += study.settings.sweep_interval_s + 0.1
        if not is_slow and clock.calls % 3 == 1:
            raise ServiceUnavailable("The store is unavailable.")
        return write(work)

    monkeypatch.setattr(study.store, "write", write_slowly)
    began, settings = clock.now, study.settings
    while study.row(study.ids[0]).status == "running":
        assert clock.now - began < settings.heartbeat_interval_s + 6 * settings.sweep_interval_s
        with contextlib.suppress(ServiceUnavailable):
            study.sweeper.recover()
    assert clock.now - began >= settings.heartbeat_interval_s, "live workers had the time of one heartbeat"


def test_sweeper_records_stops_without_stop_tasks(study: PublishedStudy) -> None:
    study.cancel(*study.ids)
    study.sweep()
    assert all(row.stopped_at for row in study.rows())
    assert study.depth(Queue.CONTROL) == 0
