"""The commands `list` and `iteration add`."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from tests.fake_api import S1, STUDY, FakeApi, example, summary
from understudy.envelopes.asks import Ask, AskSummary, RoundResult
from understudy.envelopes.studies import Iteration

Cli = Callable[..., Result]


@pytest.mark.parametrize(
    ("counts", "state"),
    [({}, "not run"), ({"running": 1}, "running"), ({"completed": 2}, "finished"), ({"failed": 1}, "failed")],
)
def test_list_shows_date_state_and_counts_in_80_columns(
    fake: FakeApi, understudy: Cli, monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], state: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")
    fake.give("/v1/studies", {"items": [STUDY | {"name": "Buy a lamp " * 12}], "next_cursor": "c2"})
    fake.give("/v1/studies/s-b2c", summary(**counts))
    shown = understudy("list").stdout
    assert "2024-01-01 00:00" in shown
    assert state in shown
    assert all(f"{number} {status}" in shown for status, number in counts.items())
    assert "Next page: understudy list studies --cursor c2" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_list_of_asks_counts_all_rounds(fake: FakeApi, understudy: Cli) -> None:
    rounds = [example(RoundResult, round=number, completed_count=2) for number in (1, 2)]
    fake.give("/v1/asks", {"items": [example(Ask, alias="a-a1b", question="Which?")], "next_cursor": None})
    fake.give("/v1/asks/a-a1b", example(AskSummary, alias="a-a1b", rounds=rounds))
    shown = understudy("list", "asks").stdout
    assert "4 completed" in shown
    assert "Which?" in shown


def test_list_as_json_is_the_answer_of_one_call(fake: FakeApi, understudy: Cli) -> None:
    answer = {"items": [STUDY], "next_cursor": None}
    fake.give("/v1/studies", answer)
    assert json.loads(understudy("list", "--json").stdout) == answer
    assert len(fake.asked) == 1
    assert "newest_first=true" in str(fake.asked[0]).lower()


def test_iteration_add_sends_the_content_and_names_the_iteration(fake: FakeApi, understudy: Cli) -> None:
    made = example(Iteration, study_id=S1, alias="i-c3d", label="B", content={"environment": "web"}, mind="heuristic")
    fake.give("/v1/studies/s-b2c/iterations", made, status=201)
    shown = understudy("iteration", "add", "s-b2c", "--url", "http://x/", "--max-interactions", "9").stdout
    assert fake.bodies == [{"content": {"environment": "web", "url": "http://x/"}, "max_interactions": 9}]
    assert "Iteration B (i-c3d) of study s-b2c." in shown


@pytest.mark.parametrize("args", [["s-b2c"], ["s-b2c", "--url", "u", "--chat", "u"], ["t-1f3", "--url", "u"], []])
def test_iteration_add_with_wrong_arguments_is_refused(fake: FakeApi, understudy: Cli, args: list[str]) -> None:
    assert understudy("iteration", "add", *args).exit_code == 2
    assert not fake.asked
