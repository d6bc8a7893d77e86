"""The API that is attacked: one process of it, with an attacker's workspace and a victim's."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.contract.test_isolation import World, aliases_of, make_world
from tests.http_client import ApiClient
from tests.servers import Fleet, Process
from understudy.domain.roles import Role
from understudy.settings import Settings
from understudy.store import workspaces
from understudy.store.engine import Store

#: The only origin whose pages may call the API.
ORIGIN = "https://app.example"
#: Seconds after which a silent client loses its connection.
CLIENT_TIMEOUT_S = 2.0


class Target:
    """A running API with two workspaces: `acme` attacks, `rival` is the victim."""

    def __init__(self, settings: Settings, fleet: Fleet) -> None:
        self.settings = settings
        self._fleet = fleet
        self.store = Store(settings.store_url)
        self._process: Process = fleet.start("api-1")[0]
        self.api = self._process.url
        self.acme = ApiClient(self.store, self.api, "acme", people=6)
        self.rival = ApiClient(self.store, self.api, "rival", people=6)
        self.mine: World = make_world(self.store, self.acme)
        self.theirs: World = make_world(self.store, self.rival)
        self.their_aliases = aliases_of(self.rival, self.theirs)

    @cached_property
    def workers(self) -> Sequence[Process]:
        """Returns a worker that runs participants, and a control worker; the first call starts them."""
        return self._fleet.start("run-1", "control")

    def log(self) -> str:
        """Returns what the API has logged."""
        return self._process.log.read_text(errors="replace")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request with the attacker's token."""
        return self.acme.http.request(method, path, **options)

    def stranger(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request without a token."""
        return httpx.request(method, self.api + path, trust_env=False, timeout=30, **options)

    def token(self, role: Role, workspace: str = "acme") -> str:
        """Creates a token of this role."""
        return self.store.write(lambda connection: workspaces.create_token(connection, workspace, role)).secret

    def connect(self) -> socket.socket:
        host, port = self.api.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=20)

    def head(self, line: str, *fields: str, token: str = "") -> bytes:
        """Returns the head of a request as it is sent, with the attacker's token."""
        lines = (line, "Host: api", f"Authorization: Bearer {token or self.acme.secret}", *fields)
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def send(self, *parts: bytes) -> bytes:
        """Sends bytes on a connection of their own; returns all that comes until the API closes it."""
        received = b""
        with self.connect() as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                while more := connection.recv(65_536):
                    received += more
            except (ConnectionResetError, BrokenPipeError):
                # The API may close while we still send; what it answered before counts.
                return received
            return received


def statuses(received: bytes) -> Sequence[int]:
    """Returns the status of each answer in these bytes."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


@contextmanager
def target(settings: Settings) -> Iterator[Target]:
    """Starts the API on a migrated store; ends it with the block."""
    changes = {"client_timeout_s": CLIENT_TIMEOUT_S, "cors_origins": ORIGIN}
    with ExitStack() as stack:
        Path(settings.data_dir).mkdir(exist_ok=True)
        fleet = stack.enter_context(Fleet.of(settings.model_copy(update=changes)))
        attacked = Target(settings, fleet)
        stack.callback(attacked.store.dispose)
        stack.enter_context(attacked.acme)
        stack.enter_context(attacked.rival)
        yield attacked
