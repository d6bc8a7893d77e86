"""The command line against a small server that gives documented answers: output, exit codes, requests."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from api.cli import app, progress
from api.cli.progress import Look, follow, frame
from api.cli.render import plain
from shared.domain.errors import ERROR_RULES, ServiceUnavailable
from shared.envelopes import Participant

T1 = "1f3a0000-0000-4000-8000-000000000001"
T2 = "2e4b0000-0000-4000-8000-000000000002"
S1 = "b2c00000-0000-4000-8000-000000000003"
I1 = "c3d00000-0000-4000-8000-000000000004"
NOW = "2024-01-01T00:00:00.000000Z"


def state(id_: str, status: str = "pending") -> dict[str, Any]:
    return {
        "participant_id": id_,
        "status": status,
        "outcome": None,
        "interaction_count": 3,
        "error_kind": None,
    }


NEXT = {
    "tool": "simulation_wait",
    "arguments": {"participant_ids": [T1], "timeout": 600.0},
    "rest": "POST /v1/simulations/wait",
    "cli": "understudy wait t-1f3 --timeout 600",
    "poll_after_seconds": 5,
    "why": "It is not over yet.",
}
DISPATCHED = {
    "ok": True,
    "dispatch": {"participant_ids": [T1], "aliases": ["t-1f3"]},
    "participants": [state(T1)],
    "next_action": NEXT,
    "a_field_of_a_newer_server": [1, 2],
}
OVER = {**DISPATCHED, "participants": [state(T1, "completed")]}
del OVER["next_action"]
TOO_LATE = {
    "ok": False,
    "error_kind": "wait_timeout",
    "error_code": "wait_timeout",
    "error": "Not over after 600 s.",
    "retryable": False,
    "suggestions": ["Wait on."],
    "dispatch": {"participant_ids": [T1]},
    "participants": [state(T1, "running")],
    "progress": {"done": 0, "total": 1},
    "next_action": NEXT,
}
CANCELLED = {
    "cancelled": [{"participant_id": T1, "success": True, "status": "cancelled"}],
    "skipped": [],
    "summary": {"total": 1, "cancelled_count": 1, "skipped_count": 0},
}
SKIPPED = {
    "cancelled": [],
    "skipped": [{"participant_id": T2, "reason": "already_terminal"}],
    "summary": {"total": 1, "cancelled_count": 0, "skipped_count": 1},
}
STUDY = {
    "id": S1,
    "alias": "s-b2c",
    "name": "Buy a lamp",
    "modality": "interactive",
    "status": "active",
    "assignment": {"task": "Buy a lamp", "success": {"url_contains": "/thanks"}},
    "questions": [],
    "created_at": NOW,
    "iterations": [
        {
            "id": I1,
            "alias": "i-c3d",
            "study_id": S1,
            "label": "A",
            "content": {"environment": "web", "url": "http://127.0.0.1:9000/"},
            "max_interactions": None,
            "mind": "heuristic",
            "step_timeout": 60.0,
            "run_timeout": 3600.0,
            "created_at": NOW,
        }
    ],
}
PERSON = {
    "id": T1,
    "alias": "tp-1f3",
    "name": "Ana \x1b[31m[bold]Ruiz",
    "age": 41,
    "country": "ES",
    "language": "es",
    "traits": {"patience": 0.2, "accessibility": ["low_vision"]},
    "bio": "Retired nurse.",
    "created_at": NOW,
}
PARTICIPANT = {
    "id": T1,
    "alias": "t-1f3",
    "status": "completed",
    "outcome": "gave_up",
    "person_id": T2,
    "person_name": "Ana Ruiz",
    "study_id": S1,
    "iteration_id": I1,
    "ask_id": None,
    "round": None,
    "interaction_count": 2,
    "max_interactions": 20,
    "extended_from": T2,
    "branched_at": 1,
    "instruction": "Switch to German.",
    "attempt": 0,
    "error_kind": None,
    "error_message": None,
    "created_at": NOW,
    "started_at": NOW,
    "finished_at": NOW,
    "stopped_at": None,
    "age_seconds": 12.0,
}


def summary(**counts: int) -> dict[str, Any]:
    statuses = ("draft", "pending", "running", "completed", "failed", "cancelled")
    return {
        "study_id": S1,
        "alias": "s-b2c",
        "name": "Buy a lamp",
        "participant_count": sum(counts.values()),
        **{f"{status}_count": counts.get(status, 0) for status in statuses},
        "outcomes": {"gave_up": counts.get("completed", 0)},
        "sentiment": {},
        "partial": False,
    }


def interaction(index: int, participant: str, thought: str) -> dict[str, Any]:
    return {
        "index": index,
        "participant_id": participant,
        "observation": {"url": f"http://shop/{index}", "title": f"Page {index}"},
        "thought": thought,
        "action": {"kind": "follow", "target": "link 'Lamps'"},
        "sentiment": 0.5,
        "result": {"url": "http://shop/x", "title": "x", "status": 200, "problem": ""},
        "started_at": NOW,
        "duration_ms": 12,
    }


def error_body(code: str) -> dict[str, Any]:
    rule = ERROR_RULES[code]
    return {
        "error": f"This is [red]{code}[/red].",
        "error_code": code,
        "retryable": rule.retryable,
        "suggestions": ["Do this.", "Or that."],
    }


class Asked(NamedTuple):
    method: str
    path: str
    query: str
    body: Any


class Api:
    """Answers in the order given, per path; the last answer of a path stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        self.asked: list[Asked] = []
        #: Paths that are heard and not answered.
        self.unanswered = ""
        self.heard_unanswered = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                api.asked.append(Asked(self.command, url.path, url.query, body))
                while api.unanswered and api.unanswered in url.path:
                    api.heard_unanswered.set()
                    time.sleep(0.02)
                status, content = api.next_answer(url.path)
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

            def handle(self) -> None:
                # A client goes away after Ctrl-C.
                with suppress(ConnectionError):
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def give(self, path: str, *answers: Any, status: int = 200) -> None:
        self.answers.setdefault(path, []).extend(
            (status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())
            for answer in answers
        )

    def next_answer(self, path: str) -> tuple[int, bytes]:
        answers = self.answers.get(path, [(404, json.dumps(error_body("not_found")).encode())])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    @property
    def bodies(self) -> list[Any]:
        return [asked.body for asked in self.asked]

    def close(self) -> None:
        self.unanswered = ""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A server whose address and token are where `understudy up` would have left them."""
    for name in [name for name in os.environ if name.startswith("UNDERSTUDY_")]:
        monkeypatch.delenv(name)
    api = Api()
    (tmp_path / "server").write_text(f"{api.url}\n")
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("UNDERSTUDY_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(progress, "INTERVAL_S", 0.01)
    yield api
    api.close()


def understudy(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, args, input=stdin, catch_exceptions=False)


# -- --json ------------------------------------------------------------------------------------------------


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
    api: Api, args: list[str], *, path: str, answer: Any, status: int, exit_code: int
) -> None:
    # Spacing, order, escapes and unknown fields included: nothing of it is ours to change.
    exact = json.dumps(answer, indent=1, ensure_ascii=True).encode()
    api.give(path, exact, status=status)
    result = understudy(*args, "--json")
    assert result.stdout_bytes == exact + b"\n"
    assert result.stderr == ""
    assert result.exit_code == exit_code


@pytest.mark.parametrize("code", sorted(ERROR_RULES))
@pytest.mark.parametrize("as_json", [True, False])
def test_errors_go_to_stderr_with_the_codes_exit_status(api: Api, code: str, as_json: bool) -> None:
    # A 202 is no error in HTTP's eyes; as an error body it is only ever heard with another status.
    status = 504 if code == "wait_timeout" else ERROR_RULES[code].http_status
    api.give("/v1/participants/t-1f3", error_body(code), status=status)
    result = understudy("get", "t-1f3", *(["--json"] if as_json else []))
    assert result.stdout == ""
    if as_json:
        assert json.loads(result.stderr) == error_body(code)
    else:
        assert result.stderr == f"[{code}] This is [red]{code}[/red].\n  Do this.\n  Or that.\n"
    assert result.exit_code == (ERROR_RULES[code].exit_code if code != "wait_timeout" else 1)


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
    api: Api, failure: dict[str, Any], status: int, exit_code: int
) -> None:
    answer = {"ok": False, "error": "No.", "retryable": False, "suggestions": ["Do this."], **failure}
    api.give("/v1/simulations/extend", answer, status=status)
    result = understudy("extend", "t-1f3", "--json")
    assert json.loads(result.stdout) == answer
    assert (result.stderr, result.exit_code) == ("", exit_code)
    result = understudy("extend", "t-1f3")
    assert result.stdout == f"[{failure['error_code']}] No.\n  Do this.\n"
    assert (result.stderr, result.exit_code) == ("", exit_code)


# -- usage: exit code 2, and nothing is asked --------------------------------------------------------------


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
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(api: Api, args: list[str]) -> None:
    result = understudy(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    if "--json" not in args:
        assert result.stderr.startswith("[validation_error] ")
    result = understudy(*args, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert json.loads(result.stderr)["error_code"] == "validation_error"
    assert not api.asked


def test_no_arguments_show_the_help() -> None:
    result = understudy()
    assert "understudy run --url" in result.output
    assert result.exit_code == 2
    assert understudy("--help").exit_code == 0


# -- cancel ------------------------------------------------------------------------------------------------


def test_each_scope_is_asked_for_by_its_name(api: Api) -> None:
    api.give("/v1/simulations/cancel", CANCELLED)
    for args in (["t-1f3"], ["--study", "s-b2c"], ["--iteration", T1], ["--ask", "a-1f3", "--round", "2"]):
        assert understudy("cancel", *args).exit_code == 0
    assert api.bodies == [
        {"participant_id": "t-1f3"},
        {"study_id": "s-b2c"},
        {"iteration_id": T1},
        {"ask_id": "a-1f3", "round": 2},
    ]


def test_several_participants_make_one_envelope_whose_sums_add_up(api: Api) -> None:
    failed = {
        "cancelled": [{"participant_id": T1, "success": False, "status": "[server_error] Broken."}],
        "skipped": [],
        "summary": {"total": 1, "cancelled_count": 0, "skipped_count": 0, "failed_count": 1},
    }
    api.give("/v1/simulations/cancel", CANCELLED, SKIPPED, failed)
    result = understudy("cancel", "t-1f3", "t-2e4", "t-1f3", "pt-5aa", "--json")
    assert [body["participant_id"] for body in api.bodies] == ["t-1f3", "t-2e4", "pt-5aa"]
    merged = json.loads(result.stdout)
    assert merged["cancelled"] == CANCELLED["cancelled"] + failed["cancelled"]
    assert merged["skipped"] == SKIPPED["skipped"]
    assert merged["summary"] == {"total": 3, "cancelled_count": 1, "skipped_count": 1, "failed_count": 1}
    assert result.exit_code == ERROR_RULES["server_error"].exit_code


def test_one_that_is_unknown_is_told_and_stops_nobody_else(api: Api) -> None:
    api.give("/v1/simulations/cancel", error_body("not_found"), status=404)
    api.give("/v1/simulations/cancel", CANCELLED)
    result = understudy("cancel", "t-999", "t-1f3", "--json")
    assert json.loads(result.stdout) == CANCELLED
    assert json.loads(result.stderr) == error_body("not_found")
    assert result.exit_code == 4


def test_a_store_that_is_away_is_not_asked_for_each_of_many(api: Api) -> None:
    api.give("/v1/simulations/cancel", error_body("service_unavailable"), status=503)
    result = understudy("cancel", "t-999", "t-1f3", "--json")
    assert (result.stdout, result.exit_code, len(api.asked)) == ("", 5, 1)


def test_cancel_tells_a_person_what_happened(api: Api) -> None:
    api.give("/v1/simulations/cancel", CANCELLED, SKIPPED)
    result = understudy("cancel", "t-1f3", "t-2e4")
    assert f"{T1}  cancelled" in result.stdout
    assert "skipped: already_terminal" in result.stdout
    assert "1 cancelled, 1 skipped" in result.stdout


# -- run, extend, wait, watch ------------------------------------------------------------------------------


def test_run_makes_a_study_and_runs_it(api: Api) -> None:
    api.give("/v1/studies", STUDY, status=201)
    api.give(f"/v1/studies/{S1}/run", DISPATCHED, status=202)
    args = (
        "--people 3 --max-interactions 9 --seed 0 --success-url /thanks --success-text Danke --mind heuristic"
    )
    result = understudy("run", "--url", "http://x/", "--task", "Buy a  lamp", *args.split())
    assert result.exit_code == 0
    assert api.bodies == [
        {
            "name": "Buy a lamp",
            "modality": "interactive",
            "assignment": {
                "task": "Buy a  lamp",
                "success": {"url_contains": "/thanks", "text_contains": "Danke"},
            },
            "iteration": {"content": {"environment": "web", "url": "http://x/"}, "mind": "heuristic"},
        },
        {"iteration_id": I1, "sample": 3, "max_interactions": 9, "seed": 0},
    ]
    assert "s-b2c" in result.stdout
    assert "t-1f3" in result.stdout
    assert "Next: understudy wait t-1f3 --timeout 600" in result.stdout


def test_run_waits_with_its_timeout_and_prints_one_envelope(api: Api) -> None:
    api.give("/v1/studies", STUDY, status=201)
    api.give(f"/v1/studies/{S1}/run", TOO_LATE, status=202)
    result = understudy("run", "--url", "u", "--task", "t", "--wait", "--timeout", "2.5", "--json")
    assert json.loads(result.stdout) == TOO_LATE
    assert api.bodies[-1] == {"iteration_id": I1, "sample": 5, "wait": True, "timeout": 2.5}
    assert result.exit_code == 5


def test_run_with_too_few_people_passes_on_how_many_there_are(api: Api) -> None:
    refused = {
        "ok": False,
        "error_kind": "validation_error",
        "error_code": "validation_error",
        "error": "There are 24 people.",
        "retryable": False,
        "suggestions": ["Generate more."],
    }
    api.give("/v1/studies", STUDY, status=201)
    api.give(f"/v1/studies/{S1}/run", refused, status=422)
    result = understudy("run", "--url", "u", "--task", "t", "--people", "25", "--watch")
    assert result.stdout == "[validation_error] There are 24 people.\n  Generate more.\n"
    assert result.exit_code == 2


def test_run_watches_until_all_are_through(api: Api) -> None:
    api.give("/v1/studies", STUDY, status=201)
    api.give(f"/v1/studies/{S1}/run", DISPATCHED, status=202)
    seen = [summary(pending=2), summary(pending=1, running=1), summary(completed=1, failed=1)]
    api.give("/v1/studies/s-b2c", *seen)
    result = understudy("run", "--url", "u", "--task", "t", "--watch")
    assert result.exit_code == 0
    lines = [line.partition(" s  ")[2] for line in result.stdout.splitlines() if " s  " in line]
    assert lines == ["2 pending", "1 pending · 1 running", "1 completed · 1 failed"]


def test_extend_passes_on_what_it_is_told(api: Api) -> None:
    api.give("/v1/simulations/extend", DISPATCHED, status=202)
    result = understudy("extend", "t-2e4", "--steps", "7", "--instruction", "Deutsch, bitte.")
    assert api.bodies == [
        {"participant_id": "t-2e4", "additional_steps": 7, "instruction": "Deutsch, bitte."}
    ]
    assert "t-1f3 goes on where t-2e4 stopped." in result.stdout
    # Bounds are the server's.
    understudy("extend", "t-2e4", "--steps", "-3")
    assert api.bodies[-1]["additional_steps"] == -3


def test_extend_tells_a_person_the_new_id_before_it_waits_for_it(api: Api) -> None:
    api.give("/v1/simulations/extend", DISPATCHED, status=202)
    api.give("/v1/simulations/wait", OVER)
    result = understudy("extend", "t-2e4", "--wait", "--timeout", "9")
    assert api.asked[-1].body == {"participant_ids": ["t-1f3"], "timeout": 9.0}
    assert "t-1f3 goes on where t-2e4 stopped." in result.stdout
    assert "completed" in result.stdout


def test_wait_shows_who_is_where_and_how_to_go_on(api: Api) -> None:
    api.give("/v1/simulations/wait", TOO_LATE, status=202)
    result = understudy("wait", T1, "--timeout", "600")
    assert "[wait_timeout] Not over after 600 s." in result.stdout
    assert "0 of 1 are through." in result.stdout
    assert "Next: understudy wait t-1f3 --timeout 600" in result.stdout
    assert result.exit_code == 5


def test_watch_gives_up_after_its_timeout(api: Api) -> None:
    api.give("/v1/studies/s-b2c", summary(running=1))
    result = understudy("watch", "s-b2c", "--timeout", "0.05")
    assert result.exit_code == 5
    assert result.stderr.startswith("[wait_timeout] ")
    assert "understudy watch s-b2c" in result.stderr


def test_watched_participants_are_asked_for_until_they_are_through(api: Api) -> None:
    api.give("/v1/participants/t-1f3", {**PARTICIPANT, "status": "running"}, PARTICIPANT)
    api.give("/v1/participants/t-2e4", {**PARTICIPANT, "status": "cancelled"})
    api.give("/v1/simulations/wait", OVER)
    result = understudy("watch", "t-1f3", "t-2e4", "--json")
    assert json.loads(result.stdout) == OVER
    paths = [asked.path for asked in api.asked]
    assert paths.count("/v1/participants/t-1f3") == 2
    assert paths.count("/v1/participants/t-2e4") == 1


def test_watching_outlives_a_restart_of_the_server_but_not_its_end() -> None:
    now = [0.0]
    looks: list[Look | None] = [Look({"running": 1}, ()), None, None, Look({"completed": 1}, ())]

    def look() -> Look:
        seen = looks.pop(0) if looks else None
        if seen is None:
            raise ServiceUnavailable("away")
        return seen

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert follow(look, None, clock=lambda: now[0], sleep=sleep)
    with pytest.raises(ServiceUnavailable):
        follow(look, None, clock=lambda: now[0], sleep=sleep)
    assert now[0] > progress.PATIENCE_S


def test_drafts_are_not_waited_for() -> None:
    assert Look({"draft": 3, "completed": 1}, ()).over
    assert not Look({"draft": 3, "pending": 1}, ()).over
    assert Look({}, ()).over


def test_a_terminal_shows_a_bar_and_a_row_for_each() -> None:
    out = StringIO()
    row = Participant.model_validate({**PARTICIPANT, "status": "running"})
    view = frame(Look({"running": 1, "completed": 3}, [row]), 7, away=True)
    Console(file=out, force_terminal=True, color_system=None, width=100).print(view)
    shown = out.getvalue()
    assert "3/4" in shown
    assert "1 running · 3 completed" in shown
    assert "t-1f3" in shown
    assert "does not answer" in shown


# -- get and people ----------------------------------------------------------------------------------------


def test_a_participant_comes_with_its_whole_journey(api: Api) -> None:
    path = "/v1/participants/t-1f3"
    api.give(path, PARTICIPANT)
    first = {"items": [interaction(0, T2, "Where am I?")], "next_cursor": "c2"}
    second = {"items": [interaction(1, T1, "[b]Ah\x1b[2J[/b]")], "next_cursor": None}
    api.give(f"/v1/participants/{T1}/interactions", first, second)
    result = understudy("get", "t-1f3")
    shown = result.stdout
    assert "Ana Ruiz" in shown
    assert "gave_up" in shown
    assert shown.index("Where am I?") < shown.index("is told") < shown.index("[b]Ah [2J[/b]")
    # Where the last step led to.
    assert shown.rindex("http://shop/x") > shown.index("[b]Ah")
    assert "\x1b" not in shown
    assert [asked.query for asked in api.asked[1:]] == ["limit=500", "limit=500&cursor=c2"]


def test_a_study_is_shown_with_counts_and_participants(api: Api) -> None:
    api.give("/v1/studies/s-b2c", STUDY, summary(completed=1))
    api.give("/v1/participants", {"items": [PARTICIPANT], "next_cursor": "more"})
    shown = understudy("get", "s-b2c").stdout
    for part in (
        "Buy a lamp",
        "address contains '/thanks'",
        "1 completed",
        "i-c3d",
        "t-1f3",
        "2/20",
        "and more",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (f"/v1/participants/{T1}", PARTICIPANT),
        (f"/v1/studies/{T1}", STUDY),
        (f"/v1/people/{T1}", PERSON),
    ],
)
def test_a_uuid_is_tried_as_each_kind(api: Api, path: str, answer: Any) -> None:
    api.give(path, answer)
    assert json.loads(understudy("get", T1, "--json").stdout) == answer


def test_a_uuid_of_nothing_is_not_found(api: Api) -> None:
    result = understudy("get", T1, "--json")
    assert (result.stdout, result.exit_code) == ("", 4)
    assert json.loads(result.stderr)["error_code"] == "not_found"


def test_long_lists_are_cut_but_not_what_went_wrong(api: Api) -> None:
    ids = [f"1f3a0000-0000-4000-8000-{number:012}" for number in range(300)]
    items = [{"participant_id": id_, "success": True, "status": "cancelled"} for id_ in ids]
    items[-1] |= {"success": False, "status": "[service_unavailable] Away."}
    counts = {"total": 300, "cancelled_count": 299, "skipped_count": 0, "failed_count": 1}
    api.give("/v1/simulations/cancel", {"cancelled": items, "skipped": [], "summary": counts})
    result = understudy("cancel", "--study", "s-b2c")
    assert "[service_unavailable] Away." in result.stdout
    assert "… and 280 more" in result.stdout
    assert "299 cancelled, 0 skipped, 1 could not be cancelled" in result.stdout
    assert result.exit_code == 5


def test_commands_to_copy_are_not_broken_into_lines(api: Api) -> None:
    long = {**NEXT, "cli": "understudy wait " + " ".join(f"t-{number:03}" for number in range(100))}
    api.give("/v1/simulations/wait", {**TOO_LATE, "next_action": long}, status=202)
    assert f"Next: {long['cli']}\n" in understudy("wait", "t-1f3").stdout


def test_views_of_a_participant(api: Api) -> None:
    transcript = {"items": [{"role": "user", "content": "Switch to German."}]}
    page = {"items": [interaction(1, T1, "Ah.")], "next_cursor": None}
    api.give("/v1/participants/t-1f3/transcript", transcript)
    api.give("/v1/participants/t-1f3/interactions", page)
    assert "Switch to German." in understudy("get", "t-1f3", "--view", "transcript").stdout
    args = ("get", "t-1f3", "--view", "interactions", "--own", "--limit", "9", "--json")
    assert json.loads(understudy(*args).stdout) == page
    assert api.asked[-1].query == "own=true&limit=9"


def test_what_people_are_called_is_shown_as_text(api: Api) -> None:
    api.give("/v1/people", {"items": [PERSON], "next_cursor": "c2"})
    shown = understudy("people", "list").stdout
    assert "Ana  [31m[bold]Ruiz" in shown
    assert "More: understudy people list --cursor c2" in shown
    api.give("/v1/people/tp-1f3", PERSON)
    assert "patience 0.2, accessibility low_vision" in understudy("people", "show", "tp-1f3").stdout


def test_people_are_added_by_options_or_from_a_file(api: Api, tmp_path: Path) -> None:
    api.give("/v1/people", PERSON, {"items": [PERSON]}, {"items": [PERSON]}, PERSON, status=201)
    ana = {"name": "Ana", "age": 41, "country": "ES", "language": "es"}
    options = [part for field, value in ana.items() for part in (f"--{field}", str(value))]
    result = understudy("people", "add", *options, "--trait", "patience=0.2", "--trait", "device=phone")
    assert result.exit_code == 0
    assert api.bodies[-1] == {**ana, "traits": {"patience": 0.2, "device": "phone"}}
    file = tmp_path / "people.json"
    for content in ([ana], {"people": [ana]}):
        file.write_text(json.dumps(content))
        assert understudy("people", "add", str(file)).exit_code == 0
        assert api.bodies[-1] == {"people": [ana]}
    assert understudy("people", "add", "-", stdin=json.dumps(ana)).exit_code == 0
    assert api.bodies[-1] == ana
    for wrong in ("{", "3", '"Ana"'):
        assert understudy("people", "add", "-", stdin=wrong).exit_code == 2


def test_plain_text_obeys_nobody() -> None:
    assert plain("a\x1b]0;title\x07b\nc\u202ed\ud800").plain == "a ]0;title b c d?"


# -- whom it talks to --------------------------------------------------------------------------------------


def test_options_and_variables_go_before_the_data_folder(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.give("/v1/people", {"items": [], "next_cursor": None})
    (tmp_path / "server").write_text("http://127.0.0.1:1")
    assert understudy("people", "list").exit_code == 5
    assert understudy("people", "list", "--server", api.url).exit_code == 0
    monkeypatch.setenv("UNDERSTUDY_SERVER", api.url)
    assert understudy("people", "list").exit_code == 0
    (tmp_path / "token").unlink()
    result = understudy("people", "list")
    assert result.exit_code == 3
    assert "understudy token create" in result.stderr
    assert understudy("people", "list", "--token", "t").exit_code == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "token").write_text("t")
    assert understudy("people", "list", "--data-dir", str(other)).exit_code == 0


def test_nobody_there_says_how_to_start_one(api: Api) -> None:
    result = understudy("people", "list", "--server", "http://127.0.0.1:1")
    assert result.exit_code == 5
    assert result.stderr.startswith(
        "[service_unavailable] no Understudy server answers at http://127.0.0.1:1"
    )
    assert "understudy up" in result.stderr


def test_a_setting_that_is_wrong_is_named(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_LEASE_TTL_S", "soon")
    result = understudy("people", "list")
    assert result.exit_code == 2
    assert "lease_ttl_s" in result.stderr.lower()


# -- as a process ------------------------------------------------------------------------------------------


def start(args: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    code = "from api.cli import app; app(prog_name='understudy')"
    return subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


@pytest.mark.parametrize(
    ("args", "unanswered", "go_on"),
    [
        (["wait", "t-1f3"], "/wait", "understudy wait t-1f3"),
        (["wait", "t-1f3", "--json"], "/wait", "understudy wait t-1f3"),
        (["watch", "s-b2c"], "/s-b2c", "understudy watch s-b2c"),
        (["watch", "t-1f3", "t-2e4"], "/t-1f3", "understudy watch t-1f3 t-2e4"),
        (["extend", "t-2e4", "--wait"], "/wait", "understudy wait t-1f3"),
        (["run", "--url", "u", "--task", "t", "--wait"], "/run", "understudy watch s-b2c"),
        (["run", "--url", "u", "--task", "t", "--watch"], "/s-b2c", "understudy watch s-b2c"),
    ],
)
def test_ctrl_c_ends_the_waiting_only(api: Api, args: list[str], unanswered: str, go_on: str) -> None:
    api.give("/v1/studies", STUDY, status=201)
    api.give(f"/v1/studies/{S1}/run", DISPATCHED, status=202)
    api.give("/v1/simulations/extend", DISPATCHED, status=202)
    api.unanswered = unanswered
    process = start(args)
    assert api.heard_unanswered.wait(20)
    stderr = b""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        # A signal that comes right before the read is noticed by Python after it: a person presses again.
        with suppress(subprocess.TimeoutExpired):
            _, stderr = process.communicate(timeout=2)
            break
    assert process.returncode == 130
    assert stderr.decode().strip() == f"Nothing was cancelled. Go on with: {go_on}"
    assert not any("cancel" in asked.path for asked in api.asked)


def test_a_reader_that_goes_away_is_no_failure(api: Api) -> None:
    people = [{**PERSON, "name": f"Ana {number} " + "x" * 200} for number in range(2000)]
    api.give("/v1/people", {"items": people, "next_cursor": None})
    for args in (["people", "list"], ["people", "list", "--json"]):
        process = start(args, env={**os.environ, "PYTHONUNBUFFERED": ""})
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        stderr = process.stderr.read()
        process.stderr.close()
        assert process.wait(20) == 141
        assert stderr == b""


def test_help_is_quick_as_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from api.cli import app\n"
        "try: app(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'httpx', 'pydantic_settings', 'sqlalchemy', 'celery', 'fastapi'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"
