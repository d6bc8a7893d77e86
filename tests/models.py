"""The fake model server, started, with its requests."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.fake_model import ModelServer
from tests.servers import serve_in_thread, wait_until


class FakeModel:
    """A chat-completions server in a thread; see `tests.fake_model`."""

    def __init__(self, server: ModelServer, url: str) -> None:
        self._server = server
        self.base_url = f"{url}/v1"

    @classmethod
    @contextlib.contextmanager
    def serving(cls) -> Iterator["FakeModel"]:
        server = ModelServer()
        with serve_in_thread(server) as url:
            yield cls(server, url)

    def script(self, name: str, *acts: dict[str, Any]) -> str:
        """Sets the answers of model `script:<name>`; returns its name."""
        self._server.scripts[name] = list(acts)
        return f"script:{name}"

    def key(self, key: str | None) -> None:
        """Accepts only this key from now on."""
        self._server.key = key

    def seen(self, model: str | None = None) -> list[dict[str, Any]]:
        """The requests so far, those for `model`."""
        return [dict(entry) for entry in self._server.requests if model in (None, entry["body"].get("model"))]

    def wait_for(self, model: str, end: str, count: int = 1) -> list[dict[str, Any]]:
        """The requests for `model` that ended so, once there are as many."""

        def ended() -> list[dict[str, Any]]:
            found = [entry for entry in self.seen(model) if entry["end"] == end]
            return found if len(found) >= count else []

        found: list[dict[str, Any]] = wait_until(ended, what=f"{count} requests {end}")
        return found
