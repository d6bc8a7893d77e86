"""The port of Flower over restarts of `understudy up`."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from understudy.deploy.stack import Stack, StackPlan
from understudy.settings import Settings


class Restarts:
    """Stacks on one folder, of which only the port is resolved."""

    def __init__(self, folder: Path) -> None:
        self._settings = Settings(data_dir=folder)
        self.lines: list[str] = []

    def port(self, flower_port: int = 0) -> int:
        plan = StackPlan(flower_port=flower_port)
        stack = Stack(self._settings, plan, cast("Any", SimpleNamespace()), self.lines.append)
        return stack.resolve_flower_port()


@pytest.fixture
def restarts(tmp_path: Path) -> Restarts:
    return Restarts(tmp_path)


def test_flower_port_is_the_one_of_the_last_time(restarts: Restarts) -> None:
    first = restarts.port()
    assert [restarts.port(), restarts.port()] == [first, first]
    assert restarts.lines == []


def test_flower_port_that_is_taken_is_replaced_and_said_so(restarts: Restarts) -> None:
    first = restarts.port()
    with socket.create_server(("127.0.0.1", first)):
        second = restarts.port()
    assert second != first
    (line,) = restarts.lines
    assert f"port {first}" in line
    assert restarts.port() == second


def test_flower_port_of_the_option_wins_and_is_remembered(restarts: Restarts) -> None:
    first = restarts.port()
    with socket.create_server(("127.0.0.1", 0)) as free:
        chosen = free.getsockname()[1]
    assert (restarts.port(chosen), restarts.port()) == (chosen, chosen)
    assert chosen != first


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "70000", "\x00", "8" * 5000])
def test_flower_port_file_without_a_port_is_replaced(restarts: Restarts, tmp_path: Path, text: str) -> None:
    (tmp_path / "flower-port").write_text(text)
    assert restarts.port() == restarts.port()
    assert restarts.lines == []
