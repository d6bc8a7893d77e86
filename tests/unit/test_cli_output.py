"""The command line: exact --json, errors on stderr, exit codes, and arguments that it refuses itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from tests.fake_api import CANCELLED, OVER, PARTICIPANT, PERSON, STUDY, TOO_LATE, FakeApi, error_body, summary
from understudy.domain.errors import ERROR_RULES

Cli = Callable[..., Result]


@pytest.mark.parametrize(
    ("args", "path", "answer", "status", "exit_code"),
    [
        (["cancel", "t-1f3"], "/v1/simulations/cancel", CANCELLED, 200, 0),
        (["extend", "t-1f3", "--wait"], "/v1/simulations/extend", OVER, 200, 0),
        (["extend", "t-1f3", "--wait"], "/v1/simulations/extend", TOO_LATE, 202, 5),
        (["wait", "t-1f3"], "/v1/simulations/wait", OVER, 200, 0),
        (["wait", "t-1f3"], "/v1/simulations/wait", TOO_LATE, 202, 5),
        (["get", "s-b2c"], "/v1/studies/s-b2c", STUDY, 200, 0),
        (["get", "t-1f3"], "/v1/participants/t-1f3", PARTICIPANT, 200, 0),
        (["get"], "/v1/studies", {"items": [], "next_cursor": None}, 200, 0),
        (["people", "list"], "/v1/people", {"items": [PERSON], "next_cursor": "c2"}, 200, 0),
        (["watch", "s-b2c"], "/v1/studies/s-b2c", summary(completed=1), 200, 0),
    ],
)
def test_json_prints_the_exact_answer_of_the_api(
    fake: FakeApi, understudy: Cli, args: list[str], path: str, answer: Any, status: int, exit_code: int
) -> None:
    # With its spacing, order, escapes and unknown fields.
    exact = json.dumps(answer, indent=1, ensure_ascii=True).encode()
    fake.give(path, exact, status=status)
    result = understudy(*args, "--json")
    assert (result.stdout_bytes, result.stderr, result.exit_code) == (exact + b"\n", "", exit_code)


@pytest.mark.parametrize("code", sorted(ERROR_RULES))
@pytest.mark.parametrize("as_json", [True, False])
def test_errors_go_to_stderr_with_their_exit_code(fake: FakeApi, understudy: Cli, code: str, as_json: bool) -> None:
    # An error body has an error status: never the 202 of a wait that timed out.
    status = 504 if code == "wait_timeout" else ERROR_RULES[code].http_status
    fake.give("/v1/participants/t-1f3", error_body(code), status=status)
    result = understudy("get", "t-1f3", *(["--json"] if as_json else []))
    assert (result.stdout, result.exit_code) == ("", ERROR_RULES[code].exit_code)
    if as_json:
        assert json.loads(result.stderr) == error_body(code)
    else:
        assert result.stderr == f"[{code}] This is [red]{code}[/red].\n  Do this.\n  Or that.\n"


@pytest.mark.parametrize(
    ("code", "retryable", "status", "exit_code"),
    [
        ("not_found", False, 404, 4),
        ("validation_error", False, 422, 2),
        ("wait_timeout", False, 202, 5),
        ("service_unavailable", True, 503, 5),
        ("rate_limited", True, 429, 5),
        ("usage_limit_reached", False, 403, 1),
    ],
)
def test_a_run_response_that_is_not_ok_goes_to_stdout(
    fake: FakeApi, understudy: Cli, code: str, status: int, exit_code: int, *, retryable: bool
) -> None:
    failure = {"ok": False, "error_kind": code, "error_code": code, "error": "No.", "suggestions": ["Do this."]}
    answer = failure | {"retryable": retryable}
    fake.give("/v1/simulations/extend", answer, status=status)
    as_json, as_text = understudy("extend", "t-1f3", "--json"), understudy("extend", "t-1f3")
    assert json.loads(as_json.stdout) == answer
    assert as_text.stdout == f"[{code}] No.\n  Do this.\n"
    assert [(one.stderr, one.exit_code) for one in (as_json, as_text)] == [("", exit_code)] * 2


REFUSED = """
cancel
cancel t-1f3 s-b2c
cancel t-1f3 --study s-b2c
cancel --study s-b2c --iteration i-c3d
cancel t-1f3 --round 1
cancel --study s-b2c --round 1
cancel --ask a-1f3 --round 0
cancel --ask a-1f3 --round 1.0
extend
extend t-1f3 t-2e4
extend t-1f3 --steps 7.0
extend t-1f3 --steps 1_0
extend t-1f3 --steps true
extend t-1f3 --timeout nan
extend t-1f3 --timeout -1
extend t-1f3 --timeout 0
extend t-1f3 --timeout 1e3
wait
get nonsense
get w-1f3
get t-1f3 --view summary
get s-b2c --view transcript
get t-1f3 --status failed
get s-b2c --status failed --view full
get t-1f3 --limit 0
get --nonsense
watch
watch s-b2c t-1f3
watch tp-1f3
watch s-b2c --timeout x
run --url u
run --task t
run --url u --task t --people 0
run --url u --task t --people 2.5
run --url u --task t --seed x
run --url u --task t --wait --watch
run --url u --task t --watch --json
people generate
people generate -1
people add
people add --name Ana
people add nowhere.json
people add - --name Ana
people show t-1f3
ask --question Which?
ask --variant This.
ask --people 3
ask --next a-a1b --people 3
ask --next a-a1b --mind heuristic
ask --question Which? --variant This. --people 0
nonsense
"""


@pytest.mark.parametrize("command", REFUSED.split("\n")[1:-1])
def test_wrong_arguments_are_refused_before_any_request(fake: FakeApi, understudy: Cli, command: str) -> None:
    args = command.split()
    as_text, as_json = understudy(*args), understudy(*args, "--json")
    assert [(one.exit_code, one.stdout) for one in (as_text, as_json)] == [(2, "")] * 2
    assert as_text.stderr.startswith("[validation_error] ") or "--json" in args
    assert json.loads(as_json.stderr)["error_code"] == "validation_error"
    assert not fake.asked


def test_no_arguments_show_the_help(understudy: Cli) -> None:
    result = understudy()
    assert "understudy run --url" in result.output
    assert result.exit_code == 2
    assert understudy("--help").exit_code == 0
