"""Features of RabbitMQ alone, each on its own server: `make test-rabbitmq` runs them."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import pools
from sqlalchemy import func, select

from tests.dedicated_brokers import depth
from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.e2e.test_fair_shares import first_interaction_after_s, make_backlog, running
from tests.factories import make_participants, make_study, make_workspace
from tests.http_client import ApiClient
from tests.rabbitmq_server import RabbitServer
from tests.servers import Fleet, free_port, wait_until
from tests.valkey_servers import Authority
from understudy.domain.queues import QUEUE_PRIORITY
from understudy.queue.celery.app import BROKER_READ_TIMEOUT_S, create_celery
from understudy.queue.celery.polling import PolledConsumer
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant

pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def _only_on_rabbitmq(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("broker") != "rabbitmq":
        pytest.skip("`make test-rabbitmq` runs it")


@pytest.fixture
def impatient(_only_on_rabbitmq: None) -> Iterator[RabbitServer]:
    """A server that takes unacknowledged messages back after seconds, not after half an hour."""
    with RabbitServer(consumer_timeout=3000, channel_tick_interval=1000) as server:
        yield server


@pytest.fixture
def settings(settings: Settings, impatient: RabbitServer) -> Settings:
    return settings.model_copy(update={"broker_url": impatient.url, "lease_ttl_s": 8})


def test_a_run_longer_than_the_consumer_timeout_continues(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    """The server redelivers all messages of the worker: they are stale."""
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.5})
    (worker, *_) = fleet.start("run-1", "sweeper", concurrency=4)
    dispatch_participants(acme, study, 8, max_interactions=16)
    wait_until(lambda: all_terminal(store), 110)
    assert counts(store) == {"completed": 8}
    assert {(row.epoch, row.attempt) for row in load_rows(store)} == {(1, 0)}
    assert "PRECONDITION_FAILED" in worker.log.read_text()
    assert worker.popen.poll() is None


def test_a_frozen_server_counts_as_unavailable(store: Store, settings: Settings, impatient: RabbitServer) -> None:
    """It keeps its connections and does not answer, as after a power failure."""
    publisher = Publisher(create_celery(settings.broker_url, read_timeout_s=BROKER_READ_TIMEOUT_S), store)
    publisher.ping()
    workspace_id = make_workspace(store).workspace_id
    study_id, (iteration_id,) = make_study(store, workspace_id)
    ids = make_participants(store, workspace_id, study_id, iteration_id, 3)
    os.kill(impatient.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BROKER_ERRORS):
            publisher.ping()
        assert publisher.refill(3).sent == 0
        publisher.enqueue_aborts(ids)
        publisher.enqueue_stop_tasks(ids)
    finally:
        os.kill(impatient.pid, signal.SIGCONT)
    wait_until(lambda: publisher.refill(3).sent == 3 or time.sleep(1))
    publisher.close()


def ping(store: Store, server: RabbitServer, port: int, ca: Path, own: str = "", password: str = "") -> bool:
    """Returns whether client and server accept each other over TLS."""
    pools.reset()
    login = f"understudy:{password or server.password}"
    url = f"amqps://{login}@127.0.0.1:{port}/?ssl_ca_certs={ca}&{own}"
    try:
        Publisher(create_celery(url, read_timeout_s=BROKER_READ_TIMEOUT_S), store).ping()
    except BROKER_ERRORS:
        return False
    return True


def test_with_tls_client_and_server_check_each_other(store: Store, tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port()
    certificate, key = authority.issue("127.0.0.1")
    lines = (
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {authority.file}",
        f"ssl_options.certfile = {certificate}",
        f"ssl_options.keyfile = {key}",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
    )
    own_certificate, own_key = authority.issue("client")
    own = f"ssl_certfile={own_certificate}&ssl_keyfile={own_key}"
    with RabbitServer(*lines) as server:
        accepted = {
            "both known": ping(store, server, port, authority.file, own),
            "another authority": ping(store, server, port, Authority(tmp_path).file, own),
            "no certificate": ping(store, server, port, authority.file),
            "wrong password": ping(store, server, port, authority.file, own, "wrong"),
        }
    assert accepted == dict.fromkeys(accepted, False) | {"both known": True}


def test_a_certificate_for_another_name_is_refused(store: Store, tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port()
    certificate, key = authority.issue("rabbit.internal")
    lines = (
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.certfile = {certificate}",
        f"ssl_options.keyfile = {key}",
    )
    with RabbitServer(*lines) as server:
        pools.reset()
        url = f"amqps://understudy:{server.password}@127.0.0.1:{port}/?ssl_ca_certs={authority.file}"
        with pytest.raises(BROKER_ERRORS, match=r"not valid for '127\.0\.0\.1'"):
            Publisher(create_celery(url, read_timeout_s=BROKER_READ_TIMEOUT_S), store).ping()


# -- Free slots --------------------------------------------------------------------------------------------


def count_held(server: RabbitServer, store: Store) -> int:
    """Returns how many messages of pending participants are at workers."""
    with store.read() as connection:
        pending = select(func.count()).where(_p.c.status == "pending", _p.c.dispatched_at.is_not(None))
        published = connection.scalar(pending) or 0
    return int(published) - sum(depth(server.url, queue) for queue in QUEUE_PRIORITY)


def test_participant_of_a_second_workspace_starts_on_any_of_several_workers(
    store: Store, acme: ApiClient, fleet: Fleet, impatient: RabbitServer
) -> None:
    """Its message never waits at a worker whose slots are all taken."""
    crowd = make_backlog(store)
    fleet.start("run-1", "run-2", "run-3", "control", "sweeper", concurrency=4)
    wait_until(lambda: running(store)[crowd] == 12)
    # Only for moments: between a get and its claim, or a refill and its publish.
    wait_until(lambda: count_held(impatient, store) <= 0, 5, "workers hold only the messages of their runs")
    study, _ = make_study(store, acme.workspace_id)
    for _ in range(5):
        (id_,) = dispatch_participants(acme, study, 1)
        assert first_interaction_after_s(store, id_) < 2


def test_a_consumer_takes_one_message_for_a_free_slot_from_the_most_urgent_queue(
    store: Store, impatient: RabbitServer
) -> None:
    app = create_celery(impatient.url)
    taken: list[str] = []
    slots = 1
    with app.connection_for_write() as connection:
        queues = list(app.amqp.queues.select(map(str, QUEUE_PRIORITY)) or app.amqp.queues.consume_from.values())
        consumer = PolledConsumer(connection.channel(), queues)
        consumer.on_message = lambda message: taken.append(message.delivery_info["routing_key"])
        for queue in reversed(QUEUE_PRIORITY):
            app.amqp.Producer(connection).publish([], routing_key=str(queue), exchange="")
        wait_until(lambda: sum(depth(impatient.url, queue) for queue in QUEUE_PRIORITY) == 3)
        assert consumer.take(lambda: slots - len(taken)) == 0, "it takes nothing before it consumes"
        consumer.consume()
        assert consumer.take(lambda: slots - len(taken)) == 1
        assert consumer.take(lambda: slots - len(taken)) == 0
        slots = 3
        assert consumer.take(lambda: slots - len(taken)) == 2
        assert taken == list(map(str, QUEUE_PRIORITY))
