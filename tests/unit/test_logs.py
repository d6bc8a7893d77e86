"""Lines of logs: their format, their context, and redacted secrets."""

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


def test_a_line_is_json_with_its_fields() -> None:
    told = json.loads(line('participant %s said "%s"', "t-1f3", "hm\nhm"))
    assert told.pop("timestamp").endswith("Z")
    origin = {"level": "warning", "part": "worker", "logger": "understudy.worker.run"}
    assert told == origin | {"message": 'participant t-1f3 said "hm\nhm"'}


@pytest.mark.parametrize(
    ("form", "on_terminal", "is_json"),
    [("auto", False, True), ("auto", True, False), ("json", True, True), ("text", False, False)],
)
def test_lines_are_text_on_a_terminal_or_as_the_setting_says(form: str, on_terminal: bool, is_json: bool) -> None:
    record = logging.LogRecord("api", logging.INFO, "x.py", 1, "it works", (), None)
    settings = Settings(log_format=form)  # type: ignore[arg-type]
    told = formatter(settings, on_terminal=on_terminal, fields={}).format(record)
    assert told.startswith("{") == is_json
    assert "it works" in told
    assert "\x1b[" not in told or on_terminal


def test_bound_fields_are_in_each_line_of_their_context_only() -> None:
    def inside() -> None:
        logs.bind(request_id="r1", study=None)
        with logs.log_context(participant="p1", task="p1.1"):
            assert json.loads(line("x"))["participant"] == "p1"
        told = json.loads(line("x"))
        assert told["request_id"] == "r1"
        assert not {"participant", "task", "study"} & set(told)

    contextvars.copy_context().run(inside)
    assert "request_id" not in json.loads(line("x"))


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_is_part_of_its_line(form: Any) -> None:
    try:
        int("postgresql://me:hunter22@host/db")
    except ValueError:
        record = logging.LogRecord("api", logging.ERROR, "x.py", 1, "it broke", (), sys.exc_info())
    told = formatter(Settings(log_format=form), on_terminal=False, fields={}).format(record)
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


def test_an_uncaught_exception_is_a_line_without_its_secrets() -> None:
    ended = subprocess.run([sys.executable, "-c", _UNCAUGHT], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ended.returncode, "hunter22" in ended.stderr) == (1, False)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["error", "error", "critical"]
    assert "some-thread" in lines[0]["message"]
    tracebacks = [line["exception"] for line in lines]
    assert [text[:9] for text in tracebacks if f"redis://:{REDACTED}@host" in text] == ["Traceback"] * 3


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
def test_a_secret_is_redacted_in_the_message_and_in_its_arguments(told: str) -> None:
    shown = (line("%s", told), line(told), line("x %s", [told]))
    assert [REDACTED in text and "hunter22" not in text for text in shown] == [True] * 3, shown


@pytest.mark.parametrize(
    "told",
    [
        "metrics at http://127.0.0.1:9100/metrics",
        "http://shop:9000/users/@bob and https://example.org/a?b=c",
        "no token is needed; the basic plan has 12 output_tokens=12",
        "participant 0d6a52f4-6f6e-4c8b-9e3d-2b1c4c8f9a10 runs here",
    ],
)
def test_other_words_are_not_redacted(told: str) -> None:
    assert json.loads(line("%s", told))["message"] == told


def test_secrets_of_the_settings_are_redacted() -> None:
    settings = Settings(
        broker_url="sentinel://:wonder%21land@a:1,b:2/0?master_name=m&sentinel_password=looking-glass",
        database_url="postgresql://me:chess-board@host/db",
    )
    secrets = {"wonder!land", "wonder%21land", "looking-glass", "chess-board"}
    assert secret_values(settings) == secrets
    redactor = SecretRedactor(secrets)
    assert {redactor.redact(f"so it is: {secret}!") for secret in secrets} == {f"so it is: {REDACTED}!"}


def test_fields_are_redacted_by_their_names_except_numbers() -> None:
    given = {"authorization": "x", "llm_api_key": "y", "input_tokens": 12, "study": "s-1f3", "more": {"token": "zz"}}
    redacted = {"authorization": REDACTED, "llm_api_key": REDACTED, "more": f"{{'token': {REDACTED}}}"}
    assert SecretRedactor()(given) == given | redacted
