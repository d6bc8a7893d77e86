"""The command line: cancel, run, extend, wait, watch."""

import json
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import Result

from tests.fake_api import CANCELLED, DISPATCHED, OVER, PARTICIPANT, SKIPPED, T1, TOO_LATE, FakeApi, error_body, summary
from understudy.cli import progress
from understudy.cli.progress import Snapshot, follow_run, render_frame
from understudy.domain.errors import ERROR_RULES, ServiceUnavailable
from understudy.envelopes.participants import Participant

Cli = Callable[..., Result]


def test_cancel_of_several_participants_merges_their_envelopes(fake: FakeApi, understudy: Cli) -> None:
    failed = [{"participant_id": T1, "success": False, "status": "[server_error] Broken."}]
    sums = {"total": 1, "cancelled_count": 0, "skipped_count": 0, "failed_count": 1}
    fake.give("/v1/simulations/cancel", CANCELLED, SKIPPED, {"cancelled": failed, "skipped": [], "summary": sums})
    result = understudy("cancel", "t-1f3", "t-2e4", "t-1f3", "pt-5aa", "--json")
    assert [body["participant_id"] for body in fake.bodies] == ["t-1f3", "t-2e4", "pt-5aa"]
    assert json.loads(result.stdout) == {
        "cancelled": CANCELLED["cancelled"] + failed,
        "skipped": SKIPPED["skipped"],
        "summary": {"total": 3, "cancelled_count": 1, "skipped_count": 1, "failed_count": 1},
    }
    assert result.exit_code == ERROR_RULES["server_error"].exit_code


def test_cancel_of_an_unknown_participant_still_cancels_the_others(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/simulations/cancel", error_body("not_found"), status=404)
    fake.give("/v1/simulations/cancel", CANCELLED)
    result = understudy("cancel", "t-999", "t-1f3", "--json")
    assert json.loads(result.stdout) == CANCELLED
    assert json.loads(result.stderr) == error_body("not_found")
    assert result.exit_code == 4


def test_cancel_of_several_stops_at_an_unavailable_store(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/simulations/cancel", error_body("service_unavailable"), status=503)
    result = understudy("cancel", "t-999", "t-1f3", "--json")
    assert (result.stdout, result.exit_code, len(fake.asked)) == ("", 5, 1)


def test_cancel_shows_each_participant_and_the_sums(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/simulations/cancel", CANCELLED, SKIPPED)
    fake.give(f"/v1/participants/{T1}", PARTICIPANT)
    result = understudy("cancel", "t-1f3", "t-2e4")
    assert result.stdout.split()[:2] == ["t-1f3", "cancelled"]
    assert "skipped: already_terminal" in result.stdout
    assert "1 cancelled, 1 skipped" in result.stdout


def test_run_makes_a_study_and_runs_it(fake: FakeApi, understudy: Cli) -> None:
    fake.give_run(DISPATCHED)
    args = "--people 3 --max-interactions 9 --seed 0 --success-url /thanks --success-text Danke --mind heuristic"
    result = understudy("run", "--url", "http://x/", "--task", "Buy a  lamp", *args.split())
    assert result.exit_code == 0
    assert fake.bodies == [
        {
            "name": "Buy a lamp",
            "modality": "interactive",
            "assignment": {"task": "Buy a  lamp", "success": {"url_contains": "/thanks", "text_contains": "Danke"}},
            "iteration": {"content": {"environment": "web", "url": "http://x/"}, "mind": "heuristic"},
            "run": {"sample": 3, "max_interactions": 9, "seed": 0},
        }
    ]
    assert "s-b2c" in result.stdout
    assert "t-1f3" in result.stdout
    assert "Next: understudy wait t-1f3 --timeout 600" in result.stdout


def test_run_sends_each_success_condition(fake: FakeApi, understudy: Cli) -> None:
    fake.give_run(DISPATCHED)
    options = ["--success-url-matches", "/order/[0-9]+$", "--success-text-absent", "Sorry", "--success-element"]
    assert understudy("run", "--url", "u", "--task", "t", *options, "button=Sign = out").exit_code == 0
    assert fake.bodies[0]["assignment"]["success"] == {
        "url_matches": "/order/[0-9]+$",
        "text_absent": "Sorry",
        "element": {"role": "button", "name": "Sign = out"},
    }


@pytest.mark.parametrize("element", ["button", "=Sign out", "button=", "button= "])
def test_run_with_half_an_element_is_refused(fake: FakeApi, understudy: Cli, element: str) -> None:
    result = understudy("run", "--url", "u", "--task", "t", "--success-element", element)
    assert (result.exit_code, fake.bodies) == (2, [])
    assert "ROLE=NAME" in result.stderr


@pytest.mark.parametrize("option", ["--success-url-matches", "--success-text-absent", "--success-element"])
def test_run_of_a_study_that_exists_takes_no_success_condition(fake: FakeApi, understudy: Cli, option: str) -> None:
    result = understudy("run", "--study", "s-b2c", option, "link=x")
    assert (result.exit_code, fake.bodies) == (2, [])
    assert option in result.stderr


def test_run_waits_with_its_timeout_and_prints_one_envelope(fake: FakeApi, understudy: Cli) -> None:
    fake.give_run(TOO_LATE)
    result = understudy("run", "--url", "u", "--task", "t", "--wait", "--timeout", "2.5", "--json")
    assert json.loads(result.stdout) == TOO_LATE
    assert fake.bodies[-1]["run"] == {"sample": 5, "wait": True, "timeout": 2.5}
    assert result.exit_code == 5


def test_run_that_is_refused_shows_the_error_and_does_not_watch(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/studies", error_body("validation_error"), status=422)
    result = understudy("run", "--url", "u", "--task", "t", "--people", "25", "--watch")
    assert (result.stderr[:18], result.exit_code, len(fake.asked)) == ("[validation_error]", 2, 1)


def test_run_of_a_study_that_exists_runs_its_latest_iteration(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/studies/s-b2c/run", DISPATCHED, status=202)
    result = understudy("run", "--study", "s-b2c", "--people", "2", "--idempotency-key", "k")
    assert fake.bodies == [{"sample": 2}]
    assert "Results: understudy get s-b2c" in result.stdout


def test_run_watches_until_all_are_terminal(fake: FakeApi, understudy: Cli) -> None:
    fake.give_run(DISPATCHED)
    seen = [summary(pending=2), summary(pending=1, running=1), summary(completed=1, failed=1)]
    fake.give("/v1/studies/s-b2c", *seen)
    fake.give("/v1/simulations/wait", OVER)
    result = understudy("run", "--url", "u", "--task", "t", "--watch")
    assert result.exit_code == 0
    lines = [line.partition(" s  ")[2] for line in result.stdout.splitlines() if " s  " in line]
    assert lines == ["2 pending", "1 pending · 1 running", "1 completed · 1 failed"]


def test_extend_sends_its_options_and_leaves_bounds_to_the_server(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/simulations/extend", DISPATCHED, status=202)
    result = understudy("extend", "t-2e4", "--steps", "7", "--instruction", "Deutsch, bitte.")
    assert fake.bodies == [{"participant_id": "t-2e4", "additional_steps": 7, "instruction": "Deutsch, bitte."}]
    assert "t-1f3 continues from t-2e4." in result.stdout
    understudy("extend", "t-2e4", "--steps", "-3")
    assert fake.bodies[-1]["additional_steps"] == -3


def test_extend_with_wait_shows_the_new_alias_and_its_end(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/simulations/extend", DISPATCHED, status=202)
    fake.give("/v1/simulations/wait", OVER)
    result = understudy("extend", "t-2e4", "--wait", "--timeout", "9")
    assert fake.asked[-1].body == {"participant_ids": ["t-1f3"], "timeout": 9.0}
    assert "t-1f3 continues from t-2e4." in result.stdout
    assert "completed" in result.stdout


def test_wait_that_times_out_shows_the_progress_and_the_next_command(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/simulations/wait", TOO_LATE, status=202)
    result = understudy("wait", T1, "--timeout", "600")
    assert "[wait_timeout] This is" in result.stdout
    assert "0 of 1 finished." in result.stdout
    assert "Next: understudy wait t-1f3 --timeout 600" in result.stdout
    assert result.exit_code == 5


def test_watch_ends_after_its_timeout(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/studies/s-b2c", summary(running=1))
    result = understudy("watch", "s-b2c", "--timeout", "0.05")
    assert result.exit_code == 5
    assert result.stderr.startswith("[wait_timeout] ")
    assert "understudy watch s-b2c" in result.stderr


def test_watch_of_an_unavailable_server_shows_how_to_continue(
    fake: FakeApi, understudy: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "RECONNECT_TIMEOUT_S", 0.05)
    fake.give("/v1/studies/s-b2c", summary(running=1))
    fake.give("/v1/studies/s-b2c", error_body("service_unavailable"), status=503)
    result = understudy("watch", "s-b2c")
    assert result.exit_code == 5
    assert "The run continues. Continue watching with: understudy watch s-b2c" in result.stderr


def test_watch_reads_each_participant_until_it_is_terminal(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/participants/t-1f3", {**PARTICIPANT, "status": "running"}, PARTICIPANT)
    fake.give("/v1/participants/t-2e4", {**PARTICIPANT, "status": "cancelled"})
    fake.give("/v1/simulations/wait", OVER)
    result = understudy("watch", "t-1f3", "t-2e4", "--json")
    assert json.loads(result.stdout) == OVER
    paths = [asked.path for asked in fake.asked]
    assert paths.count("/v1/participants/t-1f3") == 2
    assert paths.count("/v1/participants/t-2e4") == 1


def test_watching_survives_a_restart_of_the_server_but_not_its_end() -> None:
    now = [0.0]
    looks: list[Snapshot | None] = [Snapshot({"running": 1}, ()), None, None, Snapshot({"completed": 1}, ())]

    def look() -> Snapshot:
        seen = looks.pop(0) if looks else None
        if seen is None:
            raise ServiceUnavailable("away")
        return seen

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert follow_run(look, None, clock=lambda: now[0], sleep=sleep)
    with pytest.raises(ServiceUnavailable):
        follow_run(look, None, clock=lambda: now[0], sleep=sleep)
    assert now[0] > progress.RECONNECT_TIMEOUT_S


def test_drafts_are_not_waited_for() -> None:
    assert Snapshot({"draft": 3, "completed": 1}, ()).is_finished
    assert not Snapshot({"draft": 3, "pending": 1}, ()).is_finished
    assert Snapshot({}, ()).is_finished


def test_a_frame_shows_a_bar_and_a_row_for_each_participant() -> None:
    out = StringIO()
    row = Participant.model_validate({**PARTICIPANT, "status": "running"})
    view = render_frame(Snapshot({"running": 1, "completed": 3}, [row]), 7, away=True)
    Console(file=out, force_terminal=True, color_system=None, width=100).print(view)
    parts = ("3/4", "1 running · 3 completed", "t-1f3", "does not answer")
    assert [part for part in parts if part not in out.getvalue()] == []


@pytest.mark.parametrize(("scope", "query"), [("s-b2c", "study_id=s-b2c"), ("a-a1b", "ask_id=a-a1b")])
def test_wait_for_a_study_or_an_ask_waits_for_its_participants(
    fake: FakeApi, understudy: Cli, scope: str, query: str
) -> None:
    fake.give("/v1/participants", {"items": [PARTICIPANT], "next_cursor": None})
    fake.give("/v1/simulations/wait", OVER)
    assert json.loads(understudy("wait", scope, "--json").stdout) == OVER
    assert fake.asked[0].query == f"{query}&limit=500"
    assert fake.bodies[-1]["participant_ids"] == [T1]


@pytest.mark.parametrize(
    "words", [("run", "--url", "u", "--task", "t"), ("ask", "--question", "q", "--variant", "v"), ("extend", "t-1f3")]
)
def test_a_timeout_without_a_wait_is_refused(fake: FakeApi, understudy: Cli, words: tuple[str, ...]) -> None:
    result = understudy(*words, "--timeout", "5")
    assert (result.exit_code, "--timeout requires --wait" in result.stderr, fake.asked) == (2, True, [])


@pytest.mark.parametrize("option", [("--mind", "llm"), ("--step-timeout", "5"), ("--chat-model", "m"), ("--task", "t")])
def test_run_of_a_study_that_exists_refuses_options_of_a_new_one(
    fake: FakeApi, understudy: Cli, option: tuple[str, str]
) -> None:
    result = understudy("run", "--study", "s-b2c", *option)
    assert (result.exit_code, option[0] in result.stderr, fake.asked) == (2, True, [])
