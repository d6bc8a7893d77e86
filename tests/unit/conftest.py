"""Fixtures of unit tests: a fake API, the command line, and one event loop for asynchronous tests."""

import os
import ssl
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.fake_api import FakeApi
from understudy.cli import app, progress


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of tests that are marked with `anyio`."""
    return "asyncio"


@pytest.fixture(scope="package", autouse=True)
def _one_tls_context() -> Iterator[None]:
    """Reads the certificates once: for each client anew it takes longer than most tests.

    Only while unit tests run: a shared context trusts what an earlier test of the same process trusted.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A server whose address and token are where `understudy up` would have left them."""
    for name in [name for name in os.environ if name.startswith("UNDERSTUDY_")]:
        monkeypatch.delenv(name)
    server = FakeApi()
    (tmp_path / "server").write_text(f"{server.url}\n")
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("UNDERSTUDY_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(progress, "INTERVAL_S", 0.01)
    yield server
    server.close()


@pytest.fixture
def understudy(fake: FakeApi) -> Callable[..., Result]:
    """Runs a command in this process, against `fake`."""

    def run(*args: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, args, input=stdin, catch_exceptions=False)

    return run
