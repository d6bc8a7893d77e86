"""PgBouncer in transaction mode in front of a PostgreSQL server."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest
import sqlalchemy

from tests.servers import ROOT, free_port, wait_until
from understudy.store.engine import POOLING

#: The folder of `make pgbouncer`.
MADE = ROOT / "build" / "pgbouncer"

_CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 1000
max_db_connections = {connections}
{run_as}
"""


def pgbouncer() -> str:
    """Returns the program; skips the test if there is none."""
    made = MADE / "usr" / "sbin" / "pgbouncer"
    found = str(made) if made.exists() else shutil.which("pgbouncer")
    if found is None:
        pytest.skip("no pgbouncer: `make pgbouncer` fetches it from Debian's package `pgbouncer`")
    return found


class PgBouncer:
    """Shares few connections among the transactions on all databases of a server."""

    def __init__(self, url: str, connections: int = 5) -> None:
        """`url`: any database of the server."""
        self._server = sqlalchemy.make_url(url)
        self._connections = connections
        self._listen = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="understudy-pgbouncer-"))

    def url_of(self, url: str) -> str:
        """Returns the URL of the same database through PgBouncer."""
        here = sqlalchemy.make_url(url).set(host="127.0.0.1", port=self._listen, query={POOLING: "transaction"})
        return here.render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        program = pgbouncer()
        host = self._server.query.get("host") or self._server.host
        # It refuses to run as root, and only the owner reaches the server's socket.
        owner = pwd.getpwuid(Path(str(host)).stat().st_uid).pw_name
        self._folder.chmod(0o755)
        file = self._folder / "pgbouncer.ini"
        file.write_text(
            _CONFIGURATION.format(
                host=host,
                port=self._server.port or 5432,
                user=self._server.username,
                listen=self._listen,
                connections=self._connections,
                run_as=f"user = {owner}" if os.geteuid() == 0 else "",
            )
        )
        libraries = MADE / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
        self.log = self._folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, str(file)],
                env=os.environ | {"LD_LIBRARY_PATH": str(libraries)},
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: "process up" in self.log.read_text() or self._process.poll() is not None)
        assert self._process.poll() is None, self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)
