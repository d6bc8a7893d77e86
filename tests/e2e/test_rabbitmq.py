"""What only RabbitMQ does. Run by `make test-rabbitmq`: each of these has a server of its own."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import pools

from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_participants, make_study, make_workspace
from tests.http_client import ApiClient
from tests.rabbitmq_server import RabbitServer
from tests.servers import Fleet, free_port, wait_until
from tests.valkey_servers import Authority
from understudy.queue.celery.app import BROKER_READ_TIMEOUT_S, create_celery
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture(autouse=True)
def _only_on_rabbitmq(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("broker") != "rabbitmq":
        pytest.skip("`make test-rabbitmq` runs it")


@pytest.fixture
def impatient(_only_on_rabbitmq: None) -> Iterator[RabbitServer]:
    """One that takes messages back after seconds, not after half an hour."""
    with RabbitServer(consumer_timeout=3000, channel_tick_interval=1000) as server:
        yield server


@pytest.fixture
def settings(settings: Settings, impatient: RabbitServer) -> Settings:
    return settings.model_copy(update={"broker_url": impatient.url, "lease_ttl_s": 8})


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_run_longer_than_rabbitmq_waits_for_goes_on(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    """Its message is taken back with all others of that worker, and comes again: it is void."""
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.5})
    (worker, *_) = fleet.start("run-1", "sweeper", concurrency=4)
    dispatch_participants(acme, study, 8, max_interactions=16)
    wait_until(lambda: all_terminal(store), 110)
    assert counts(store) == {"completed": 8}
    assert {(row.epoch, row.attempt) for row in load_rows(store)} == {(1, 0)}
    assert "PRECONDITION_FAILED" in worker.log.read_text()
    assert worker.popen.poll() is None


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_one_that_says_nothing_is_away(store: Store, settings: Settings, impatient: RabbitServer) -> None:
    """Frozen, it keeps its connections and says nothing: as one does whose machine lost its power."""
    publisher = Publisher(create_celery(settings.broker_url, read_timeout_s=BROKER_READ_TIMEOUT_S), store)
    publisher.ping()
    workspace_id = make_workspace(store).workspace_id
    study_id, (iteration_id,) = make_study(store, workspace_id)
    ids = make_participants(store, workspace_id, study_id, iteration_id, 3)
    os.kill(impatient.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BROKER_ERRORS):
            publisher.ping()
        assert publisher.publish_run_messages(ids) == (0, 3)
        publisher.enqueue_aborts(ids)
        publisher.enqueue_stop_tasks(ids)
    finally:
        os.kill(impatient.pid, signal.SIGCONT)
    wait_until(lambda: publisher.publish_run_messages(ids) == (3, 0) or time.sleep(1))
    publisher.close()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_with_tls_each_knows_who_the_other_is(store: Store, tmp_path: Path) -> None:
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

        def ask(ca: Path, own: str, password: str = server.password) -> None:
            pools.reset()
            url = f"amqps://understudy:{password}@127.0.0.1:{port}/?ssl_ca_certs={ca}&{own}"
            Publisher(create_celery(url, read_timeout_s=BROKER_READ_TIMEOUT_S), store).ping()

        ask(authority.file, own)
        for wrong in (
            (Authority(tmp_path).file, own),
            (authority.file, ""),
            (authority.file, own, "wrong"),
        ):
            with pytest.raises(BROKER_ERRORS):
                ask(*wrong)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
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
