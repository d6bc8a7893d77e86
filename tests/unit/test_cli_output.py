"""The command line: --json to the letter, errors on stderr, exit codes; and what is refused at once."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from tests.fake_api import (
    CANCELLED,
    DISPATCHED,
    OVER,
    PARTICIPANT,
    PERSON,
    STUDY,
    TOO_LATE,
    FakeApi,
    error_body,
    summary,
)
from understudy.domain.errors import ERROR_RULES

Cli = Callable[..., Result]


@pytest.mark.parametrize(
    ("args", "path", "answer", "status", "exit_code"),
    [
        (["cancel", "t-1f3"], "/v1/simulations/cancel", CANCELLED, 200, 0),
        (["cancel", "--study", "s-b2c"], "/v1/simulations/cancel", CANCELLED, 200, 0),
        (["extend", "t-1f3"], "/v1/simulations/extend", DISPATCHED, 202, 0),
        (["extend", "t-1f3", "--wait"], "/v1/simulations/extend", OVER, 200, 0),
        (["extend", "t-1f3", "--wait"], "/v1/simulations/extend", TOO_LATE, 202, 5),
        (["wait", "t-1f3"], "/v1/simulations/wait", OVER, 200, 0),
        (["wait", "t-1f3"], "/v1/simulations/wait", TOO_LATE, 202, 5),
        (["get", "s-b2c"], "/v1/studies/s-b2c", STUDY, 200, 0),
        (["get", "s-b2c", "--view", "summary"], "/v1/studies/s-b2c", summary(failed=1), 200, 0),
        (["get", "t-1f3"], "/v1/participants/t-1f3", PARTICIPANT, 200, 0),
        (["get", "tp-1f3"], "/v1/people/tp-1f3", PERSON, 200, 0),
        (["get", "i-c3d"], "/v1/participants", {"items": [PARTICIPANT], "next_cursor": None}, 200, 0),
        (["get"], "/v1/studies", {"items": [], "next_cursor": None}, 200, 0),
        (["people", "list"], "/v1/people", {"items": [PERSON], "next_cursor": "c2"}, 200, 0),
        (["people", "show", "tp-1f3"], "/v1/people/tp-1f3", PERSON, 200, 0),
        (["people", "generate", "1"], "/v1/people", {"items": [PERSON]}, 201, 0),
        (["watch", "s-b2c"], "/v1/studies/s-b2c", summary(completed=1), 200, 0),
    ],
)
def test_json_prints_the_apis_answer_and_nothing_else(
    fake: FakeApi,
    understudy: Cli,
    args: list[str],
    *,
    path: str,
    answer: Any,
    status: int,
    exit_code: int,
) -> None:
    # Spacing, order, escapes and unknown fields included: nothing of it is ours to change.
    exact = json.dumps(answer, indent=1, ensure_ascii=True).encode()
    fake.give(path, exact, status=status)
    result = understudy(*args, "--json")
    assert result.stdout_bytes == exact + b"\n"
    assert result.stderr == ""
    assert result.exit_code == exit_code


@pytest.mark.parametrize("code", sorted(ERROR_RULES))
@pytest.mark.parametrize("as_json", [True, False])
def test_errors_go_to_stderr_with_the_codes_exit_status(
    fake: FakeApi, understudy: Cli, code: str, as_json: bool
) -> None:
    # A 202 is no error in HTTP's eyes; as an error body it is only ever heard with another status.
    status = 504 if code == "wait_timeout" else ERROR_RULES[code].http_status
    fake.give("/v1/participants/t-1f3", error_body(code), status=status)
    result = understudy("get", "t-1f3", *(["--json"] if as_json else []))
    assert result.stdout == ""
    if as_json:
        assert json.loads(result.stderr) == error_body(code)
    else:
        assert result.stderr == f"[{code}] This is [red]{code}[/red].\n  Do this.\n  Or that.\n"
    assert result.exit_code == ERROR_RULES[code].exit_code


@pytest.mark.parametrize(
    ("failure", "status", "exit_code"),
    [
        ({"error_code": "not_found", "error_kind": "not_found"}, 404, 4),
        ({"error_code": "validation_error", "error_kind": "validation_error"}, 422, 2),
        ({"error_code": "wait_timeout", "error_kind": "wait_timeout"}, 202, 5),
        (
            {"error_code": "service_unavailable", "error_kind": "service_unavailable", "retryable": True},
            503,
            5,
        ),
        ({"error_code": "rate_limited", "error_kind": "rate_limited", "retryable": True}, 429, 5),
        ({"error_code": "usage_limit_reached", "error_kind": "usage_limit_reached"}, 403, 1),
    ],
)
def test_a_run_response_that_is_not_ok_goes_to_stdout(
    fake: FakeApi, understudy: Cli, failure: dict[str, Any], status: int, exit_code: int
) -> None:
    answer = {"ok": False, "error": "No.", "retryable": False, "suggestions": ["Do this."], **failure}
    fake.give("/v1/simulations/extend", answer, status=status)
    result = understudy("extend", "t-1f3", "--json")
    assert json.loads(result.stdout) == answer
    assert (result.stderr, result.exit_code) == ("", exit_code)
    result = understudy("extend", "t-1f3")
    assert result.stdout == f"[{failure['error_code']}] No.\n  Do this.\n"
    assert (result.stderr, result.exit_code) == ("", exit_code)


@pytest.mark.parametrize(
    "args",
    [
        ["cancel"],
        ["cancel", "t-1f3", "--study", "s-b2c"],
        ["cancel", "--study", "s-b2c", "--iteration", "i-c3d"],
        ["cancel", "--iteration", "i-c3d", "--ask", "a-1f3", "--round", "1"],
        ["cancel", "t-1f3", "--round", "1"],
        ["cancel", "--study", "s-b2c", "--round", "1"],
        ["cancel", "--ask", "a-1f3", "--round", "0"],
        ["cancel", "--ask", "a-1f3", "--round", "1.0"],
        ["cancel", "t-1f3", "s-b2c"],
        ["extend"],
        ["extend", "t-1f3", "t-2e4"],
        ["extend", "t-1f3", "--steps", "7.0"],
        ["extend", "t-1f3", "--steps", "1_0"],
        ["extend", "t-1f3", "--steps", "true"],
        ["extend", "t-1f3", "--timeout", "nan"],
        ["extend", "t-1f3", "--timeout", "inf"],
        ["extend", "t-1f3", "--timeout", "-1"],
        ["extend", "t-1f3", "--timeout", "0"],
        ["extend", "t-1f3", "--timeout", "1e3"],
        ["wait"],
        ["wait", "t-1f3", "--timeout", "-5"],
        ["get", "nonsense"],
        ["get", "w-1f3"],
        ["get", "t-1f3", "--view", "summary"],
        ["get", "s-b2c", "--view", "transcript"],
        ["get", "s-b2c", "--view", "nonsense"],
        ["get", "t-1f3", "--limit", "0"],
        ["watch"],
        ["watch", "s-b2c", "t-1f3"],
        ["watch", "s-b2c", "s-1f3"],
        ["watch", "tp-1f3"],
        ["watch", "s-b2c", "--timeout", "x"],
        ["run", "--url", "http://127.0.0.1:9000"],
        ["run", "--task", "Buy a lamp"],
        ["run", "--url", "u", "--task", "t", "--people", "0"],
        ["run", "--url", "u", "--task", "t", "--people", "2.5"],
        ["run", "--url", "u", "--task", "t", "--seed", "x"],
        ["run", "--url", "u", "--task", "t", "--wait", "--watch"],
        ["run", "--url", "u", "--task", "t", "--watch", "--json"],
        ["people", "generate"],
        ["people", "generate", "-1"],
        ["people", "add"],
        ["people", "add", "--name", "Ana"],
        ["people", "add", "nowhere.json"],
        ["people", "add", "-", "--name", "Ana"],
        ["people", "show", "t-1f3"],
        ["nonsense"],
        ["get", "--nonsense"],
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    fake: FakeApi, understudy: Cli, args: list[str]
) -> None:
    result = understudy(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    if "--json" not in args:
        assert result.stderr.startswith("[validation_error] ")
    result = understudy(*args, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert json.loads(result.stderr)["error_code"] == "validation_error"
    assert not fake.asked


def test_no_arguments_show_the_help(understudy: Cli) -> None:
    result = understudy()
    assert "understudy run --url" in result.output
    assert result.exit_code == 2
    assert understudy("--help").exit_code == 0
