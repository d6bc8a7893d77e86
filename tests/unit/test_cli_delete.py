"""The command `delete`."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from tests.fake_api import S1, FakeApi, error_body, example
from understudy.cli import deletions
from understudy.envelopes.deletions import Deleted

Cli = Callable[..., Result]

IDS = {"s-b2c": "/v1/studies/s-b2c", "a-a1b": "/v1/asks/a-a1b", "tp-1f3": "/v1/people/tp-1f3"}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes stdin a terminal."""

    class Terminal:
        def isatty(self) -> bool:
            return True

    class System:
        stdin: Any = Terminal()

    monkeypatch.setattr(deletions, "sys", System)


@pytest.mark.parametrize("id_", IDS)
def test_delete_with_yes_deletes(fake: FakeApi, understudy: Cli, id_: str) -> None:
    fake.give(IDS[id_], example(Deleted, alias=id_, participant_count=3))
    result = understudy("delete", id_, "--yes")
    assert [(asked.method, asked.path, asked.body) for asked in fake.asked] == [("DELETE", IDS[id_], None)]
    assert f"{id_}" in result.stdout


@pytest.mark.parametrize(
    "args", [["s-b2c"], ["s-b2c", "--json"], ["t-1f3", "--yes"], ["i-c3d", "--yes"], [S1, "--yes"]]
)
def test_delete_without_confirmation_or_of_another_kind_is_refused(
    fake: FakeApi, understudy: Cli, args: list[str]
) -> None:
    assert understudy("delete", *args).exit_code == 2
    assert not fake.asked


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("answer", "deletes"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_delete_on_a_terminal_asks_first(fake: FakeApi, understudy: Cli, answer: str, *, deletes: bool) -> None:
    fake.give("/v1/studies/s-b2c", example(Deleted, alias="s-b2c"))
    result = understudy("delete", "s-b2c", stdin=answer)
    assert "This cannot be undone." in result.stderr
    assert (bool(fake.asked), result.exit_code) == (deletes, 0 if deletes else 1)


def test_delete_of_something_active_exits_1(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/studies/s-b2c", error_body("conflict"), status=409)
    assert understudy("delete", "s-b2c", "--yes").exit_code == 1
