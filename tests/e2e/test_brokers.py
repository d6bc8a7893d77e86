"""Brokers as others run them: TLS and a password, Sentinels and a failover, RabbitMQ."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from kombu import pools

from tests.dedicated_brokers import DedicatedBroker
from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.rabbitmq_server import SKIP_REASON as WHY_NO_RABBITMQ
from tests.rabbitmq_server import RabbitServer, is_available
from tests.servers import Fleet, Process, free_port, wait_until
from tests.valkey_servers import WHY_NOT, Authority, ValkeyProcess, sentinel_setup, tls_can_be_had
from understudy.deploy.ports import is_healthy
from understudy.domain.queues import Queue
from understudy.queue.celery.app import BROKER_READ_TIMEOUT_S, create_celery
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.settings import Settings
from understudy.store.engine import Store

pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


def publisher(url: str, store: Store) -> Publisher:
    # One process has one address; kombu would take its connections for those to another with other files.
    pools.reset()
    return Publisher(create_celery(url, read_timeout_s=BROKER_READ_TIMEOUT_S), store)


# -- TLS ---------------------------------------------------------------------------------------------------

PASSWORD = "pass:word/with@all?of&it%"
QUOTED = "pass%3Aword%2Fwith%40all%3Fof%26it%25"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def encrypted(authority: Authority) -> Iterator[ValkeyProcess]:
    """A server that lets in only who has a certificate and a password."""
    if not tls_can_be_had():
        pytest.skip(WHY_NOT)
    certificate, key = authority.issue("127.0.0.1")
    lines = (f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {authority.file}")
    with ValkeyProcess(*lines, "tls-auth-clients yes", f'requirepass "{PASSWORD}"', tls=True) as server:
        yield server


def encrypted_url(port: int, authority: Authority, password: str = QUOTED, host: str = "127.0.0.1") -> str:
    certificate, key = authority.issue("client")
    files = f"ssl_ca_certs={authority.file}&ssl_certfile={certificate}&ssl_keyfile={key}"
    return f"rediss://:{password}@{host}:{port}/0?{files}"


def test_a_study_runs_through_a_server_with_tls_and_a_password(
    store: Store, settings: Settings, encrypted: ValkeyProcess, authority: Authority
) -> None:
    settings = settings.model_copy(update={"broker_url": encrypted_url(encrypted.port, authority)})
    port = free_port()
    with Fleet.of(settings) as fleet:
        started = fleet.start("run-1", "control", "sweeper")
        api = Process(settings, "api", "--port", str(port), name="api")
        try:
            wait_until(lambda: is_healthy("127.0.0.1", port, "/readyz"))
            with ApiClient(store, f"http://127.0.0.1:{port}", "acme") as acme:
                quick, _ = make_study(store, acme.workspace_id)
                ids = dispatch_participants(acme, quick, 4)
                answer = acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 60})
                assert answer.json()["ok"], answer.text
                slow, _ = make_study(store, acme.workspace_id, content={"delay_s": 600})
                dispatch_participants(acme, slow, 2)
                wait_until(lambda: counts(store).get("running") == 2)
                acme.post("/v1/simulations/cancel", {"study_id": str(slow)})
                wait_until(lambda: all(row.stopped_at for row in load_rows(store, slow)))
                encrypted.kill()
                wait_until(lambda: httpx.get(f"{acme.api}/readyz").status_code == 503)
                told = httpx.get(f"{acme.api}/readyz").text
        finally:
            api.stop()
    for log in (told, *(process.log.read_text() for process in (*started, api))):
        assert PASSWORD not in log
        assert QUOTED not in log


def test_who_is_not_who_it_says_or_knows_no_password_is_not_talked_to(
    store: Store, encrypted: ValkeyProcess, authority: Authority, tmp_path: Path
) -> None:
    right = encrypted_url(encrypted.port, authority)
    publisher(right, store).ping()
    own_ca = f"ssl_ca_certs={authority.file}"
    for wrong in (
        right.replace(own_ca, f"ssl_ca_certs={Authority(tmp_path).file}"),
        # Its certificate is for the number, not for this name.
        encrypted_url(encrypted.port, authority, host="localhost"),
        encrypted_url(encrypted.port, authority, "wrong"),
    ):
        with pytest.raises(BROKER_ERRORS) as refused:
            publisher(wrong, store).ping()
        assert PASSWORD not in str(refused.value)


# -- Sentinels ---------------------------------------------------------------------------------------------


def test_a_failover_while_a_study_runs_loses_nothing(store: Store, settings: Settings) -> None:
    with sentinel_setup() as servers:
        settings = settings.model_copy(update={"broker_url": servers.url, "lease_ttl_s": 8})
        port = free_port()
        with Fleet.of(settings) as fleet:
            started = fleet.start("run-1", "control", "sweeper", concurrency=4)
            api = Process(settings, "api", "--port", str(port), name="api")
            try:
                wait_until(lambda: is_healthy("127.0.0.1", port, "/readyz"))
                with ApiClient(store, f"http://127.0.0.1:{port}", "acme") as acme:
                    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
                    ids = dispatch_participants(acme, study, 8, max_interactions=12)
                    wait_until(lambda: counts(store) == {"running": 4, "pending": 4})
                    servers.server.kill()
                    ids += dispatch_participants(acme, study, 4, max_interactions=12)
                    wait_until(lambda: servers.named() == servers.replica.port, what="the failover")
                    ids += dispatch_participants(acme, study, 2)
                    answer = acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 100})
                    assert answer.json()["ok"], answer.text
            finally:
                api.stop()
        assert counts(store) == {"completed": 14}
        # Who ran did not notice, and who waited started once.
        assert {(row.epoch, row.attempt) for row in load_rows(store)} == {(1, 0)}
        for process in (*started, api):
            assert servers.password not in process.log.read_text()
            assert servers.sentinel_password not in process.log.read_text()


# -- RabbitMQ ----------------------------------------------------------------------------------------------


@pytest.fixture
def rabbit() -> Iterator[DedicatedBroker]:
    """A server of this test alone: it is killed in the middle."""
    if not is_available():
        pytest.skip(WHY_NO_RABBITMQ)
    with RabbitServer() as server:
        yield server


def test_through_rabbitmq_runs_are_cancelled_extended_recovered_and_found_again(
    store: Store, settings: Settings, rabbit: DedicatedBroker
) -> None:
    """The thin version of what `make test-rabbitmq` runs at length; without a Redis beside it."""
    settings = settings.model_copy(update={"broker_url": rabbit.url, "lease_ttl_s": 4})
    port = free_port()
    with Fleet.of(settings) as fleet:
        (worker, *_) = fleet.start("run-1", "control", "sweeper", concurrency=4)
        api = Process(settings, "api", "--port", str(port), name="api")
        try:
            wait_until(lambda: is_healthy("127.0.0.1", port, "/readyz"))
            with ApiClient(store, f"http://127.0.0.1:{port}", "acme") as acme:
                slow, _ = make_study(store, acme.workspace_id, content={"delay_s": 600})
                (source, *_) = dispatch_participants(acme, slow, 3)
                wait_until(lambda: counts(store).get("running") == 3)
                acme.post("/v1/simulations/cancel", {"study_id": str(slow)})
                wait_until(lambda: all(row.stopped_at for row in load_rows(store, slow)))
                study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
                ids = dispatch_participants(acme, study, 7, max_interactions=10)
                wait_until(lambda: counts(store).get("running") == 4)
                worker.stop(signal.SIGKILL)
                fleet.start("run-2", concurrency=4)
                rabbit.kill()
                ids += dispatch_participants(acme, study, 2)
                rabbit.start()
                answer = acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 100})
                assert answer.json()["ok"], answer.text
                assert all_terminal(store)
                assert counts(store) == {"cancelled": 3, "completed": 9}
                body = {"participant_id": source, "additional_steps": 1}
                assert acme.post("/v1/simulations/extend", body).status_code == 202
                wait_until(lambda: publisher(rabbit.url, store).queue_depth(Queue.RESUME) == 0)
                wait_until(lambda: counts(store).get("running") == 1)
                acme.post("/v1/simulations/cancel", {"study_id": str(slow)})
        finally:
            api.stop()
