"""Brokers as in production: TLS and a password, Sentinels and a failover, RabbitMQ."""

import contextlib
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import pools

from tests.dedicated_brokers import DedicatedBroker
from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.rabbitmq_server import SKIP_REASON as WHY_NO_RABBITMQ
from tests.rabbitmq_server import RabbitServer, is_available
from tests.servers import ROOT, Fleet, wait_until
from tests.valkey_servers import WHY_NOT, Authority, ValkeyProcess, sentinel_setup, tls_can_be_had
from understudy.domain.queues import Queue
from understudy.queue.celery.app import BROKER_READ_TIMEOUT_S, create_celery
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.store.engine import Store

pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


def publisher(url: str, store: Store) -> Publisher:
    # kombu would reuse its connections to the same address with other files.
    pools.reset()
    return Publisher(create_celery(url, read_timeout_s=BROKER_READ_TIMEOUT_S), store)


def fleet_on(fleet: Fleet, broker_url: str, **settings: float) -> Fleet:
    """The same fleet on another broker."""
    fleet.settings = fleet.settings.model_copy(update={"broker_url": broker_url, **settings})
    return fleet


# -- TLS ---------------------------------------------------------------------------------------------------

PASSWORD = "pass:word/with@all?of&it%"
QUOTED = "pass%3Aword%2Fwith%40all%3Fof%26it%25"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def encrypted(authority: Authority) -> Iterator[ValkeyProcess]:
    """A server that requires a certificate and a password."""
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


def test_a_study_runs_on_a_server_with_tls_and_a_password(
    store: Store, fleet: Fleet, encrypted: ValkeyProcess, authority: Authority
) -> None:
    fleet_on(fleet, encrypted_url(encrypted.port, authority))
    processes = fleet.start("run-1", "control", "sweeper", "api")
    with ApiClient(store, processes[-1].url, "acme") as acme:
        wait_until(lambda: acme.get("/readyz").is_success)
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
        wait_until(lambda: acme.get("/readyz").json()["status"] == "degraded")
        written = acme.get("/readyz").text
    fleet.stop()
    written += "".join(process.log.read_text() for process in processes)
    assert [secret for secret in (PASSWORD, QUOTED) if secret in written] == []


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_a_study_runs_on_a_broker_with_an_ipv6_address(store: Store, fleet: Fleet) -> None:
    with ValkeyProcess("bind 127.0.0.1 ::1") as server:
        fleet_on(fleet, f"redis://[::1]:{server.port}/0")
        *_, api = fleet.start("run-1", "control", "sweeper", "api")
        with ApiClient(store, api.url, "acme") as acme:
            wait_until(lambda: acme.get("/readyz").json()["status"] == "ok")
            study, _ = make_study(store, acme.workspace_id)
            ids = dispatch_participants(acme, study, 2)
            assert acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 60}).json()["ok"]


def documented_user(password: str) -> str:
    """The line of a server's file of users that the documentation shows."""
    (line,) = re.findall(r"^user understudy .*$", (ROOT / "docs" / "brokers.md").read_text(), re.MULTILINE)
    return str(line).replace(">PASSWORD", f">{password}")


def test_a_user_with_the_documented_rights_runs_cancels_and_extends(store: Store, fleet: Fleet) -> None:
    with ValkeyProcess("requirepass root", documented_user("secret")) as server:
        fleet_on(fleet, f"redis://understudy:secret@127.0.0.1:{server.port}/0")
        processes = fleet.start("run-1", "control", "sweeper", "api")
        with ApiClient(store, processes[-1].url, "acme") as acme:
            wait_until(lambda: acme.get("/readyz").json()["status"] == "ok")
            quick, _ = make_study(store, acme.workspace_id)
            (id_, *_) = ids = dispatch_participants(acme, quick, 2)
            assert acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 60}).json()["ok"]
            child = acme.post(f"/v1/participants/{id_}/extend", {"wait": True, "timeout": 60}).json()
            assert child["ok"], child
            slow, _ = make_study(store, acme.workspace_id, content={"delay_s": 600})
            dispatch_participants(acme, slow, 1)
            wait_until(lambda: counts(store).get("running") == 1)
            acme.post("/v1/simulations/cancel", {"study_id": str(slow)})
            wait_until(lambda: all(row.stopped_at for row in load_rows(store, slow)))
        # Flower and Celery's tools do this.
        app = create_celery(fleet.settings.broker_url, read_timeout_s=BROKER_READ_TIMEOUT_S)
        assert app.control.inspect(timeout=5, limit=2).ping()
        with app.connection() as connection, contextlib.suppress(TimeoutError):
            app.events.Receiver(connection, handlers={"*": print}).capture(limit=1, timeout=1)
        with redis.Redis(port=server.port, password="root", decode_responses=True) as root:
            assert root.acl_log() == []
        fleet.stop()
    assert "NOPERM" not in "".join(process.log.read_text() for process in processes)


@pytest.mark.parametrize("wrong", ["authority", "name", "password"])
def test_a_server_or_client_with_a_wrong_identity_is_refused(
    store: Store, encrypted: ValkeyProcess, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    right = encrypted_url(encrypted.port, authority)
    publisher(right, store).ping()
    urls = {
        "authority": right.replace(f"ssl_ca_certs={authority.file}", f"ssl_ca_certs={Authority(tmp_path).file}"),
        # The server's certificate is for the number, not for this name.
        "name": encrypted_url(encrypted.port, authority, host="localhost"),
        "password": encrypted_url(encrypted.port, authority, "wrong"),
    }
    with pytest.raises(BROKER_ERRORS) as refused:
        publisher(urls[wrong], store).ping()
    assert PASSWORD not in str(refused.value)


# -- Sentinels ---------------------------------------------------------------------------------------------


def test_a_failover_during_a_study_loses_nothing(store: Store, fleet: Fleet) -> None:
    with sentinel_setup() as servers:
        fleet_on(fleet, servers.url, lease_ttl_s=8)
        processes = fleet.start("run-1", "control", "sweeper", "api", concurrency=4)
        with ApiClient(store, processes[-1].url, "acme") as acme:
            study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
            ids = dispatch_participants(acme, study, 8, max_interactions=12)
            wait_until(lambda: counts(store) == {"running": 4, "pending": 4})
            servers.server.kill()
            ids += dispatch_participants(acme, study, 4, max_interactions=12)
            wait_until(lambda: servers.named() == servers.replica.port, what="the failover")
            ids += dispatch_participants(acme, study, 2)
            answer = acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 100})
            assert answer.json()["ok"], answer.text
        fleet.stop()
        assert counts(store) == {"completed": 14}
        # The failover interrupted no run, and pending participants started once.
        assert {(row.epoch, row.attempt) for row in load_rows(store)} == {(1, 0)}
        written = "".join(process.log.read_text() for process in processes)
        assert [secret for secret in (servers.password, servers.sentinel_password) if secret in written] == []


# -- RabbitMQ ----------------------------------------------------------------------------------------------


@pytest.fixture
def rabbit() -> Iterator[DedicatedBroker]:
    """A server of one test, which kills it."""
    if not is_available():
        pytest.skip(WHY_NO_RABBITMQ)
    with RabbitServer() as server:
        yield server


def test_on_rabbitmq_participants_are_cancelled_extended_recovered_and_republished(
    store: Store, fleet: Fleet, rabbit: DedicatedBroker
) -> None:
    """The short version of `make test-rabbitmq`, without a Redis server."""
    fleet_on(fleet, rabbit.url, lease_ttl_s=4)
    (worker, *_, api) = fleet.start("run-1", "control", "sweeper", "api", concurrency=4)
    with ApiClient(store, api.url, "acme") as acme:
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
        assert acme.post("/v1/simulations/extend", {"participant_id": source, "additional_steps": 1}).is_success
        wait_until(lambda: publisher(rabbit.url, store).queue_depth(Queue.RESUME) == 0)
        wait_until(lambda: counts(store).get("running") == 1)
        acme.post("/v1/simulations/cancel", {"study_id": str(slow)})
    fleet.stop()
