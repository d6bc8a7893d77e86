"""The fake model server, started and asked what it saw."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx

from tests.servers import ROOT, wait_until


class FakeModel:
    """A chat-completions server in a process of its own; see `tests.fake_model`."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.url}/v1"
        self._http = httpx.Client(base_url=self.url, trust_env=False, verify=False, timeout=30)

    @classmethod
    @contextlib.contextmanager
    def serving(cls) -> Iterator["FakeModel"]:
        """The server, for the time of the block."""
        command = [sys.executable, "-m", "tests.fake_model"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            fake = cls(int(process.stdout.readline()))
            try:
                yield fake
            finally:
                fake._http.close()
                process.terminate()

    def script(self, name: str, *acts: dict[str, Any]) -> str:
        """Have model `script:<name>` answer so, in turn; its name."""
        self._http.post(f"/script/{name}", content=json.dumps(acts))
        return f"script:{name}"

    def key(self, key: str | None) -> None:
        """From now on, only whoever has this key is answered."""
        self._http.post("/key", content=json.dumps(key))

    def seen(self, model: str | None = None) -> list[dict[str, Any]]:
        """Requests so far, those for `model`."""
        entries: list[dict[str, Any]] = self._http.get("/seen").json()["seen"]
        return [entry for entry in entries if model in (None, entry["body"].get("model"))]

    def active(self) -> int:
        """Requests that are being answered."""
        return int(self._http.get("/seen").json()["active"])

    def most(self) -> int:
        """Most requests that were being answered at a time."""
        return int(self._http.get("/seen").json()["most"])

    def wait_for(self, model: str, end: str, count: int = 1) -> list[dict[str, Any]]:
        """Requests for `model` that ended so, once there are as many."""

        def ended() -> list[dict[str, Any]]:
            found = [entry for entry in self.seen(model) if entry["end"] == end]
            return found if len(found) >= count else []

        found: list[dict[str, Any]] = wait_until(ended, what=f"{count} requests {end}")
        return found
