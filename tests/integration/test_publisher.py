"""Telling workers, with a real broker: who comes first, and what happens while it is away."""

import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from sqlalchemy import Connection, select, update

from tests.dedicated_brokers import DedicatedBroker, empty, headers
from tests.factories import make_lease, make_participants, make_study, make_workspace
from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.queues import QUEUE_PRIORITY, Queue
from understudy.queue.celery.app import create_celery
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.settings import Settings
from understudy.store import dispatch, leases, lifecycle
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables
from understudy.worker.sweeper import Sweeper

_p = Tables.participant


class Post:
    """A publisher, and participants to publish of."""

    def __init__(self, settings: Settings, store: Store, count: int = 3) -> None:
        self.store = store
        self.settings = settings
        self.publisher = Publisher(create_celery(settings.broker_url), store)
        self.notifier = Notifier(settings.notifications_url)
        self.sweeper = Sweeper(settings, store, self.publisher, self.notifier)
        self.workspace_id = make_workspace(store).workspace_id
        study_id, (iteration_id,) = make_study(store, self.workspace_id)
        self.ids = make_participants(store, self.workspace_id, study_id, iteration_id, count)

    def close(self) -> None:
        self.publisher.close()
        self.notifier.close()

    def sweep(self) -> bool:
        """As a sweeper does again and again; is there more to send?"""
        self.sweeper.recover()
        return self.sweeper.publish()

    def rows(self) -> list[Any]:
        with self.store.read() as connection:
            return list(connection.execute(select(_p).order_by(_p.c.id)))

    def messages(self, queue: Queue) -> list[dict[str, Any]]:
        return headers(self.settings.broker_url, queue)


@pytest.fixture
def post(settings: Settings, store: Store) -> Iterator[Post]:
    made = Post(settings, store)
    yield made
    made.close()


def test_one_message_per_participant_with_nothing_secret(post: Post) -> None:
    assert post.publisher.publish_run_messages(post.ids).sent == 3
    messages = post.messages(Queue.RUNS)
    assert {message["id"] for message in messages} == {f"{id_}.1" for id_ in post.ids}
    (alias,) = {row.alias for row in post.rows() if row.id == post.ids[0]}
    (found,) = [m for m in messages if m["id"] == f"{post.ids[0]}.1"]
    assert found["task"] == "simulation.run"
    assert found["argsrepr"].startswith(f"participant={alias} study=s-")
    assert post.publisher.publish_run_messages(post.ids) == (0, 0)


def test_a_stop_task_for_each_cancelled_one(post: Post) -> None:
    post.publisher.publish_run_messages(post.ids)
    post.store.write(lambda connection: lifecycle.cancel(connection, post.workspace_id, post.ids))
    post.publisher.enqueue_stop_tasks(post.ids)
    wait_until(lambda: post.publisher.queue_depth(Queue.CONTROL) == 3)
    assert {m["id"] for m in post.messages(Queue.CONTROL)} == {f"{i}.1.stop" for i in post.ids}


class Held(threading.Timer):
    """Goes off when a test says so."""

    waiting: ClassVar[list[threading.Timer]] = []

    def start(self) -> None:
        self.waiting.append(self)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[threading.Timer]:
    """What waits for an answer, in turns of two."""
    monkeypatch.setattr("understudy.queue.publisher.PUBLISH_BATCH_SIZE", 2)
    monkeypatch.setattr("understudy.queue.publisher.Timer", Held)
    Held.waiting.clear()
    return Held.waiting


def test_of_many_run_messages_the_first_go_at_once_and_the_rest_after_the_answer(
    post: Post, held: list[threading.Timer]
) -> None:
    post.publisher.enqueue_run_messages(post.ids)
    wait_until(lambda: len(post.messages(Queue.RUNS)) == 2)
    (rest,) = held
    assert {m["id"] for m in post.messages(Queue.RUNS)} == {f"{id_}.1" for id_ in post.ids[:2]}
    rest.run()
    wait_until(lambda: len(post.messages(Queue.RUNS)) == 3)


def test_without_a_thread_to_wait_in_messages_go_at_once(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    post.publisher.publish_run_messages(post.ids[:1])
    monkeypatch.setattr("understudy.queue.publisher.PUBLISH_BATCH_SIZE", 1)
    monkeypatch.setattr(threading.Timer, "start", no_more)
    post.publisher.enqueue_run_messages(post.ids)
    wait_until(lambda: len(post.messages(Queue.RUNS)) == 3)


def test_many_stop_tasks_let_the_answer_go_first_and_few_do_not_wait_for_them(
    post: Post, held: list[threading.Timer]
) -> None:
    post.publisher.enqueue_stop_tasks(post.ids)
    post.publisher.enqueue_stop_tasks(post.ids[:2])
    wait_until(lambda: len(post.messages(Queue.CONTROL)) == 2)
    (many,) = held
    many.run()
    wait_until(lambda: len(post.messages(Queue.CONTROL)) == 2 + 3)


def test_without_a_broker_messages_stay_owed_and_are_sent_later(
    settings: Settings, store: Store, broker: DedicatedBroker
) -> None:
    post = Post(settings.model_copy(update={"broker_url": broker.url}), store)
    broker.kill()
    assert post.publisher.publish_run_messages(post.ids) == (0, 3)
    assert {row.dispatched_at for row in post.rows()} == {None}
    with pytest.raises(BROKER_ERRORS):
        post.publisher.ping()
    post.sweep()
    assert {row.dispatch_no for row in post.rows()} == {1}, "an absent broker is not written to"
    broker.start()
    wait_until(lambda: _answers(post.publisher))
    post.sweep()
    assert post.publisher.queue_depth(Queue.RUNS) == 3
    post.close()


def _answers(publisher: Publisher) -> bool:
    try:
        publisher.ping()
    except BROKER_ERRORS:
        return False
    return True


def test_aborts_and_stop_tasks_without_a_broker_are_logged_and_raise_nothing(
    settings: Settings, store: Store, broker: DedicatedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    post = Post(settings.model_copy(update={"broker_url": broker.url}), store)
    broker.kill()
    post.publisher.enqueue_aborts(post.ids)
    post.publisher.enqueue_stop_tasks(post.ids)
    post.notifier.enqueue(post.ids)
    wait_until(lambda: {"cannot publish aborts", "cannot publish stop tasks"} <= _starts(caplog), 30)
    post.close()


def _starts(caplog: pytest.LogCaptureFixture) -> set[str]:
    """How the logged warnings begin, up to the reason."""
    return {record.getMessage().partition(" (")[0] for record in caplog.records}


def test_a_broker_that_goes_away_under_a_connection_keeps_nobody_from_ending(
    settings: Settings, store: Store, broker: DedicatedBroker
) -> None:
    post = Post(settings.model_copy(update={"broker_url": broker.url}), store)
    post.publisher.enqueue_aborts(post.ids)
    _until_sent(post.publisher)
    broker.kill()
    post.publisher.enqueue_aborts(post.ids)
    post.publisher.enqueue_stop_tasks(post.ids)
    ending = threading.Thread(target=post.close, daemon=True)
    ending.start()
    ending.join(20)
    assert not ending.is_alive()


def test_an_abort_is_sent_on_a_new_connection_when_the_broker_is_back(
    settings: Settings, store: Store, broker: DedicatedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    post = Post(settings.model_copy(update={"broker_url": broker.url}), store)
    post.publisher.enqueue_aborts(post.ids)
    _until_sent(post.publisher)
    broker.kill()
    broker.start()
    post.publisher.enqueue_aborts(post.ids)
    _until_sent(post.publisher)
    assert "cannot publish aborts" not in caplog.text
    post.close()


def _until_sent(publisher: Publisher) -> None:
    """Until what was to be sent by its lane for aborts is."""
    publisher._aborts.submit(lambda: None).result()


# -- the sweeper -------------------------------------------------------------------------------------------


def test_the_sweeper_sends_what_is_owed_once(post: Post) -> None:
    post.sweep()
    post.sweep()
    assert post.publisher.queue_depth(Queue.RUNS) == 3


def age_messages(post: Post) -> None:
    post.store.write(lambda connection: connection.execute(update(_p).values(dispatched_at=store_clock(-3600))))


def test_a_message_is_gone_only_when_its_queue_is_empty(post: Post) -> None:
    post.publisher.publish_run_messages(post.ids)
    age_messages(post)
    post.sweep()
    assert {row.dispatch_no for row in post.rows()} == {1}
    empty(post.settings.broker_url)
    post.sweep()
    assert {row.dispatch_no for row in post.rows()} == {2}
    assert post.publisher.queue_depth(Queue.RUNS) == 3


def run_one_sent_later(post: Post, after_s: float) -> None:
    """The last participant runs; its message was sent so many seconds after the others'."""
    worker_id = make_lease(post.store)

    def work(connection: Connection) -> None:
        claimed = lifecycle.claim(connection, post.ids[-1], worker_id)
        assert claimed is not None
        sent_at = store_clock(after_s - 3600)
        connection.execute(update(_p).where(_p.c.id == claimed.id).values(dispatched_at=sent_at))

    post.store.write(work)


def test_a_message_that_was_overtaken_is_sent_again_once(post: Post) -> None:
    post.publisher.publish_run_messages(post.ids)
    age_messages(post)
    run_one_sent_later(post, after_s=4)
    post.sweep()
    # Whoever publish at once mix their messages: a few seconds mean nothing.
    assert {row.dispatch_no for row in post.rows()} == {1}
    post.store.write(
        lambda connection: connection.execute(
            update(_p).where(_p.c.status == "running").values(dispatched_at=store_clock(6 - 3600))
        )
    )
    post.sweep()
    post.sweep()
    assert {row.status: row.dispatch_no for row in post.rows()} == {"pending": 2, "running": 1}


def test_what_was_in_a_queue_that_is_gone_is_sent_again_all_of_it(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what one sweep has no room for, when the queue is not empty any more."""
    monkeypatch.setattr("understudy.worker.sweeper.BATCH_SIZE", 2)
    post.publisher.publish_run_messages(post.ids)
    age_messages(post)
    empty(post.settings.broker_url)
    assert post.sweep()
    assert post.publisher.queue_depth(Queue.RUNS) == 2
    assert not post.sweep()
    assert {row.dispatch_no for row in post.rows()} == {2}
    post.sweep()
    assert post.publisher.queue_depth(Queue.RUNS) == 3


def test_much_that_is_owed_takes_several_sweeps(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.worker.sweeper.BATCH_SIZE", 2)
    assert post.sweep()
    assert not post.sweep()
    assert post.publisher.queue_depth(Queue.RUNS) == 3


def test_what_is_consumed_first_is_sent_first(post: Post) -> None:
    by_queue = dict(zip([*QUEUE_PRIORITY], post.ids, strict=True))

    def put(connection: Connection) -> None:
        for queue, id_ in by_queue.items():
            connection.execute(update(_p).where(_p.c.id == id_).values(queue=str(queue)))

    post.store.write(put)
    with post.store.read() as connection:
        assert dispatch.unpublished_ids(connection, 9) == list(by_queue.values())


def test_after_an_outage_of_the_store_the_living_go_first(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post.store, "write", away)
    with pytest.raises(ServiceUnavailable):
        post.sweep()
    monkeypatch.undo()
    check_that_the_living_go_first(post)


def test_after_the_store_was_slow_the_living_go_first(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others waited as long, and could not renew their leases."""
    write = post.store.write

    def write_slowly(work: Any) -> Any:
        time.sleep(post.settings.sweep_interval_s + 0.1)
        monkeypatch.undo()
        return write(work)

    monkeypatch.setattr(post.store, "write", write_slowly)
    check_that_the_living_go_first(post)


def check_that_the_living_go_first(post: Post) -> None:
    """All leases lapsed meanwhile; who lives gives back what it held, and that costs no attempt."""
    worker_id = uuid4()
    with post.store.engine.begin() as connection:
        leases.create_lease(connection, worker_id, "test", 60)
        lifecycle.claim(connection, post.ids[0], worker_id)
        leases.expire_lease(connection, worker_id)
    post.sweep()
    post.sweep()
    assert {row.status: row.attempt for row in post.rows()} == {"pending": 0, "running": 0}
    time.sleep(post.settings.heartbeat_interval_s)
    post.sweep()
    assert sorted((row.status, row.attempt) for row in post.rows()) == [
        *(("pending", 0), ("pending", 0)),
        ("pending", 1),
    ]


def away(_: object) -> None:
    raise ServiceUnavailable("The store is away.")


def test_the_sweeper_records_stops_that_nobody_did(post: Post) -> None:
    post.store.write(lambda connection: lifecycle.cancel(connection, post.workspace_id, post.ids))
    post.sweep()
    assert all(row.stopped_at for row in post.rows())
    assert post.publisher.queue_depth(Queue.CONTROL) == 0
