"""Flower as a process of a test."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.servers import ROOT, free_port, wait_until
from understudy.deploy.stack import FLOWER_OPTIONS
from understudy.settings import Settings


class Flower:
    """Flower for one broker, with its state in one folder."""

    def __init__(self, settings: Settings, folder: Path, **options: object) -> None:
        port = free_port()
        options = FLOWER_OPTIONS | {"address": "127.0.0.1", "port": port, "db": folder / "flower.db"} | options
        variables = {"UNDERSTUDY_BROKER_URL": settings.broker_url, "FLOWER_BASIC_AUTH": "me:secret"}
        command = [sys.executable, "-m", "celery", "--app", "understudy.worker.app", "flower"]
        command += [f"--{name}={value}" for name, value in options.items()]
        with (folder / "flower.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=url, auth=("me", "secret"), trust_env=False, verify=False, timeout=30)
        wait_until(self._answers, what="Flower answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get("/healthcheck").is_success
        return False

    def tasks(self, search: str = "") -> dict[str, Any]:
        """Returns the messages that it shows, by id."""
        return self.http.get("/api/tasks", params={"search": search}).json()

    def press(self, what: str, **params: object) -> httpx.Response:
        """Sends what a button of its page sends."""
        return self.http.post(f"/api/{what}", params=params)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.http.close()
        self.process.send_signal(how)
        self.process.wait(30)
