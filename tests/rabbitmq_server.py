"""A RabbitMQ server for tests, from Debian's packages, which `make rabbitmq` unpacks."""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import amqp

from tests.servers import ROOT, free_port, wait_until
from understudy.queue.celery.app import create_celery

UNPACKED = ROOT / "build" / "rabbitmq"
SKIP_REASON = "RabbitMQ is missing; on Debian, `make rabbitmq` downloads it"
#: Erlang and RabbitMQ start slowly on a slow machine.
_START_TIMEOUT_S = 110
_HOST = "127.0.0.1"


def is_available() -> bool:
    """Was it downloaded?"""
    return (UNPACKED / "usr").is_dir()


class RabbitServer:
    """RabbitMQ on loopback with its own ports, node, cookie and data; ends with the block.

    It has its own `epmd`, too: one that the node starts never ends.
    """

    def __init__(self, *lines: str, **settings: int) -> None:
        """`lines` of its configuration, and `settings` of the application `rabbit` in its node."""
        self._lines = lines
        self._settings = [word for name, value in settings.items() for word in (name, str(value))]
        self.password = secrets.token_hex(12)
        self.port, self._node_port, self._epmd_port = free_port(), free_port(), free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://understudy:{self.password}@{_HOST}:{self.port}/"

    def __enter__(self) -> Self:
        # A short path: file names contain it.
        self._folder = Path(tempfile.mkdtemp(prefix="understudy-rabbitmq-"))
        lines = [
            f"listeners.tcp.1 = {_HOST}:{self.port}",
            "default_user = understudy",
            f"default_pass = {self.password}",
            "log.console.level = warning",
            # A full disk must not fail tests.
            "disk_free_limit.absolute = 1MB",
            *self._lines,
        ]
        (self._folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        self._epmd = self._launch("epmd", "-port", str(self._epmd_port))
        try:
            self.start()
            self._make_queues()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Starts it on its data; returns when it answers."""
        options = ("-noinput", "-s", "rabbit", "boot", "-boot", "start_sasl", "+W", "w", "+S", "2:2")
        kernel = ("inet_dist_use_interface", "{127,0,0,1}", "prevent_overlapping_partitions", "false")
        syslog = ("logger", "[]", "syslog_error_logger", "false")
        self._server = self._launch(
            "erlexec", *options, "-kernel", *kernel, "-syslog", *syslog, "-rabbit", *self._settings
        )
        wait_until(self._answers, _START_TIMEOUT_S, "RabbitMQ answers")

    def kill(self) -> None:
        """Ends it as a power failure does; confirmed messages are on disk."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def delete_data(self) -> None:
        """Removes its data while it does not run."""
        shutil.rmtree(self._folder / "data")

    def _make_queues(self) -> None:
        """Creates all queues early: a server killed within a second after it created a queue
        restarts with a queue that accepts nothing (see docs/brokers.md)."""
        app = create_celery(self.url, read_timeout_s=60)
        with app.connection_for_write() as connection:
            for queue in app.amqp.queues.values():
                queue(connection.default_channel).queue_declare()

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, f"RabbitMQ ended:\n{self._log()[-4000:]}"
        login = {"userid": "understudy", "password": self.password}
        with (
            contextlib.suppress(OSError, amqp.AMQPError),
            amqp.Connection(f"{_HOST}:{self.port}", **login, connect_timeout=5, read_timeout=5),
        ):
            return True
        return False

    def _log(self) -> str:
        return (self._folder / "erlexec.log").read_text()

    def _launch(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        erlang = UNPACKED / "usr/lib/erlang"
        (programs,) = erlang.glob("erts-*/bin")
        (rabbit,) = (UNPACKED / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        folder = str(self._folder)
        environment = {
            "HOME": folder,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "ROOTDIR": str(erlang),
            "BINDIR": str(programs),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_LIBS": str(rabbit / "plugins"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": _HOST,
            "ERL_CRASH_DUMP": f"{folder}/erl_crash.dump",
            "RABBITMQ_HOME": str(rabbit),
            "RABBITMQ_PLUGINS_DIR": str(rabbit / "plugins"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_NODENAME": f"understudy{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
        }
        with (self._folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [str(programs / program), *arguments],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C must not stop it in the middle of a write.
                start_new_session=True,
            )
