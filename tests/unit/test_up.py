"""`understudy up` on a host that others reach: nobody visits addresses inside unless the operator says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from understudy.deploy import up as command
from understudy.deploy.stack import Stack, StackPlan
from understudy.deploy.supervisor import StopRequested, Supervisor
from understudy.domain.addresses import is_loopback
from understudy.settings import Settings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST.")),
        *(
            (host, False)
            for host in ("0.0.0.0", "::", "", "10.0.0.1", "192.168.1.1", "my-machine", "localhost.example")
        ),
    ],
)
def test_is_loopback_only_if_nobody_else_reaches_it(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def stack(folder: Path, host: str, **settings: Any) -> Stack:
    return Stack(Settings(data_dir=folder, **settings), StackPlan(host=host), Supervisor(log=print), print)


@pytest.mark.parametrize(
    ("host", "settings", "in_force"),
    [
        ("127.0.0.1", {}, "true"),
        ("::1", {}, "true"),
        ("127.0.0.1", {"allow_private_hosts": "false"}, "false"),
        ("0.0.0.0", {}, "false"),
        ("::", {}, "false"),
        ("192.168.1.1", {}, "false"),
        ("0.0.0.0", {"allow_private_hosts": "true"}, "true"),
        ("0.0.0.0", {"allow_private_hosts": "10.1.0.0/16"}, "10.1.0.0/16"),
    ],
)
def test_stack_allows_private_addresses_only_on_loopback_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, settings: dict[str, str], in_force: str
) -> None:
    monkeypatch.delenv("UNDERSTUDY_ALLOW_PRIVATE_HOSTS", raising=False)
    made = stack(tmp_path, host, **settings)
    assert made.settings.allow_private_hosts == in_force
    assert made._environment()["UNDERSTUDY_ALLOW_PRIVATE_HOSTS"] == in_force


@pytest.mark.parametrize(
    ("host", "settings", "says"),
    [("0.0.0.0", {}, 1), ("127.0.0.1", {}, 0), ("0.0.0.0", {"allow_private_hosts": "true"}, 0)],
)
def test_up_says_in_one_line_that_private_addresses_are_off(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str,
    settings: dict[str, str],
    says: int,
) -> None:
    monkeypatch.delenv("UNDERSTUDY_ALLOW_PRIVATE_HOSTS", raising=False)
    made = stack(tmp_path, host, **settings)

    def stop() -> None:
        raise StopRequested

    @contextmanager
    def run_stack(*_: object) -> Iterator[Stack]:
        monkeypatch.setattr(made.supervisor, "run", stop)
        yield made

    monkeypatch.setattr(command, "run_stack", run_stack)
    command.up(made.settings, StackPlan(host=host))
    lines = [line for line in capsys.readouterr().err.splitlines() if "UNDERSTUDY_ALLOW_PRIVATE_HOSTS" in line]
    assert len(lines) == says
