"""Lines of logs: their form, what they name, and what they never tell."""

import contextvars
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from understudy.settings import Settings
from understudy.telemetry import logs
from understudy.telemetry.logs import REDACTED, SecretRedactor, formatter, secret_values

ROOT = Path(__file__).parents[2]


def line(message: str, *args: object, **settings: Any) -> str:
    """A warning of `understudy.worker.run` as a line of the log."""
    record = logging.LogRecord("understudy.worker.run", logging.WARNING, "run.py", 1, message, args, None)
    return formatter(Settings(**settings), on_terminal=False, fields={"part": "worker"}).format(record)


def test_a_line_is_json_with_the_words_as_they_were() -> None:
    told = json.loads(line('participant %s said "%s"', "t-1f3", "hm\nhm"))
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "level": "warning",
        "part": "worker",
        "logger": "understudy.worker.run",
        "message": 'participant t-1f3 said "hm\nhm"',
    }


@pytest.mark.parametrize(
    ("form", "on_terminal", "is_json"),
    [("auto", False, True), ("auto", True, False), ("json", True, True), ("text", False, False)],
)
def test_lines_are_readable_on_a_terminal_unless_somebody_says_otherwise(
    form: str, on_terminal: bool, is_json: bool
) -> None:
    record = logging.LogRecord("api", logging.INFO, "x.py", 1, "it works", (), None)
    settings = Settings(log_format=form)  # type: ignore[arg-type]
    told = formatter(settings, on_terminal=on_terminal, fields={}).format(record)
    assert told.startswith("{") == is_json
    assert "it works" in told
    assert "\x1b[" not in told or on_terminal


def test_what_is_bound_goes_with_each_line_of_its_context_and_no_other() -> None:
    def inside() -> None:
        logs.bind(request_id="r1", study=None)
        with logs.log_context(participant="p1", task="p1.1"):
            assert json.loads(line("x"))["participant"] == "p1"
        told = json.loads(line("x"))
        assert told["request_id"] == "r1"
        assert not {"participant", "task", "study"} & set(told)

    contextvars.copy_context().run(inside)
    assert "request_id" not in json.loads(line("x"))


def test_a_traceback_is_part_of_its_line() -> None:
    try:
        int("postgresql://me:hunter22@host/db")
    except ValueError:
        record = logging.LogRecord("api", logging.ERROR, "x.py", 1, "it broke", (), sys.exc_info())
    for form in ("json", "text"):
        told = formatter(Settings(log_format=form), on_terminal=False, fields={}).format(record)  # type: ignore[arg-type]
        assert told.count("'postgresql://me:***@host/db'") == 1
        assert "hunter22" not in told
        assert ("\n" in told) == (form == "text")


_UNCAUGHT = """
import threading
from understudy.telemetry import logs
from understudy.settings import Settings

class Left:
    def __del__(self):
        raise ValueError("redis://:hunter22@host")

logs.configure(Settings(log_format="json"), part="worker")
thread = threading.Thread(target=int, args=("redis://:hunter22@host",), name="some-thread")
thread.start()
thread.join()
Left()
raise ValueError("redis://:hunter22@host")
"""


def test_what_nobody_catches_is_a_line_too_without_its_secrets() -> None:
    ended = subprocess.run([sys.executable, "-c", _UNCAUGHT], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 1
    told = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["level"] for line in told] == ["error", "error", "critical"]
    assert "some-thread" in told[0]["message"]
    for line in told:
        assert line["exception"].startswith("Traceback")
        assert f"redis://:{REDACTED}@host" in line["exception"]
    assert "hunter22" not in ended.stderr


# -- secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        "redis://:hunter22@127.0.0.1:6379/0 does not answer",
        "postgresql+psycopg://me:hunter22@host/db?sslmode=require",
        "connection to host=x user=y password=hunter22 failed",
        "connection to host=x password='hunter22 and more' failed",
        "Authorization: Bearer hunter22.hunter22",
        "{'authorization': 'Basic hunter22=='}",
        '{"api_key": "hunter22", "model": "m"}',
        "X-Api-Key: hunter22",
        "OPENAI_API_KEY=hunter22",
        "us_hunter22hunter22 is not known",
        "sk-proj-hunter22hunter22",
        "Set-Cookie: hunter22; Path=/",
    ],
)
def test_what_looks_like_a_secret_is_hidden_wherever_it_stands(told: str) -> None:
    for shown in (line("%s", told), line(told), line("x %s", [told])):
        assert "hunter22" not in shown
        assert REDACTED in shown


@pytest.mark.parametrize(
    "told",
    [
        "metrics at http://127.0.0.1:9100/metrics",
        "http://shop:9000/users/@bob and https://example.org/a?b=c",
        "no token is needed; the basic plan has 12 output_tokens=12",
        "participant 0d6a52f4-6f6e-4c8b-9e3d-2b1c4c8f9a10 runs here",
    ],
)
def test_what_is_no_secret_stays(told: str) -> None:
    assert json.loads(line("%s", told))["message"] == told


def test_passwords_and_tokens_of_the_settings_are_known_whatever_they_look_like() -> None:
    settings = Settings(
        broker_url="sentinel://:wonder%21land@a:1,b:2/0?master_name=m&sentinel_password=looking-glass",
        database_url="postgresql://me:chess-board@host/db",
    )
    assert secret_values(settings) == {
        "wonder!land",
        "wonder%21land",
        "looking-glass",
        "chess-board",
    }
    hider = SecretRedactor(secret_values(settings))
    for secret in secret_values(settings):
        assert hider.redact(f"so it is: {secret}!") == f"so it is: {REDACTED}!"


def test_fields_are_hidden_by_their_names_and_numbers_are_none() -> None:
    hide = SecretRedactor()
    given = {
        "authorization": "x",
        "llm_api_key": "y",
        "input_tokens": 12,
        "study": "s-1f3",
        "more": {"token": "zz"},
    }
    told = hide(None, "", given)
    assert told == {
        "authorization": REDACTED,
        "llm_api_key": REDACTED,
        "input_tokens": 12,
        "study": "s-1f3",
        "more": f"{{'token': {REDACTED}}}",
    }
