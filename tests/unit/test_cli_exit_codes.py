"""The exit code of commands that wait: 1 if a participant failed, unless --exit-zero."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from tests.fake_api import DISPATCHED, OVER, PARTICIPANT, T1, FakeApi, example, state, summary
from understudy.envelopes.asks import AskSummary, RoundResult

Cli = Callable[..., Result]

FAILED = {**OVER, "participants": [state(T1, "failed") | {"error_kind": "environment_error"}]}
CANCELLED = {**OVER, "participants": [state(T1, "cancelled")]}
ROW = PARTICIPANT | {
    "id": T1,
    "status": "failed",
    "outcome": None,
    "error_kind": "environment_error",
    "error_message": "The page cannot be reached.",
}
REASON = "t-1f3 (Ana Ruiz) failed: environment_error: The page cannot be reached."
RUN = ["run", "--url", "u", "--task", "t"]


def serve(fake: FakeApi, ended: object, row: object = ROW, **counts: int) -> None:
    """Answers every way to wait for one participant with the same end."""
    fake.give_run(DISPATCHED)
    fake.give("/v1/studies/s-b2c/run", DISPATCHED, status=202)
    fake.give("/v1/simulations/extend", DISPATCHED, status=202)
    fake.give("/v1/simulations/wait", ended)
    fake.give("/v1/studies/s-b2c", summary(**counts))
    for id_ in (T1, "t-1f3"):
        fake.give(f"/v1/participants/{id_}", row)
    fake.give("/v1/participants", {"items": [row], "next_cursor": None})
    round_ = example(RoundResult, round=1, **{f"{status}_count": count for status, count in counts.items()})
    fake.give("/v1/asks/a-a1b", example(AskSummary, alias="a-a1b", rounds=[round_]))


WAITING = [
    [*RUN, "--wait"],
    [*RUN, "--watch"],
    ["extend", "t-2e4", "--wait"],
    ["wait", "t-1f3"],
    ["watch", "s-b2c"],
    ["watch", "t-1f3"],
    ["watch", "a-a1b"],
]


@pytest.mark.parametrize("command", WAITING)
def test_wait_with_a_failed_participant_exits_1_and_names_it(
    fake: FakeApi, understudy: Cli, command: list[str]
) -> None:
    serve(fake, FAILED, failed=1)
    result = understudy(*command)
    assert result.exit_code == 1
    assert REASON in result.stdout
    assert understudy(*command, "--exit-zero").exit_code == 0


@pytest.mark.parametrize("command", WAITING)
def test_wait_with_a_cancelled_participant_exits_0(fake: FakeApi, understudy: Cli, command: list[str]) -> None:
    row = ROW | {"status": "cancelled", "error_kind": None, "error_message": None}
    serve(fake, CANCELLED, row, cancelled=1)
    assert understudy(*command).exit_code == 0


@pytest.mark.parametrize("command", [["wait", "t-1f3"], ["watch", "s-b2c"], ["watch", "t-1f3"]])
def test_wait_as_json_with_a_failed_participant_exits_1_with_the_envelope_alone(
    fake: FakeApi, understudy: Cli, command: list[str]
) -> None:
    serve(fake, FAILED, failed=1)
    result = understudy(*command, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)
    assert result.stderr == ""


@pytest.mark.parametrize("command", [RUN, ["extend", "t-2e4"]])
def test_dispatch_without_a_wait_exits_0(fake: FakeApi, understudy: Cli, command: list[str]) -> None:
    fake.give_run(FAILED)
    fake.give("/v1/simulations/extend", FAILED, status=202)
    fake.give(f"/v1/participants/{T1}", ROW)
    assert understudy(*command).exit_code == 0


def test_run_watch_of_a_study_ignores_the_failures_of_its_earlier_runs(fake: FakeApi, understudy: Cli) -> None:
    serve(fake, OVER, failed=1, completed=1)
    result = understudy("run", "--study", "s-b2c", "--watch")
    assert result.exit_code == 0
    assert REASON not in result.stdout


def test_participant_that_reached_its_cap_hints_at_extend(fake: FakeApi, understudy: Cli) -> None:
    ended = {**OVER, "participants": [state(T1, "completed") | {"outcome": "cap_reached"}]}
    serve(fake, ended, completed=1)
    assert "understudy extend t-1f3 --steps 10" in understudy("wait", "t-1f3").stdout
