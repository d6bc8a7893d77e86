"""The command line as a process: Ctrl-C, closed pipes, imports."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from tests.fake_api import DISPATCHED, PERSON, FakeApi


def start(args: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    # Where the tests themselves run in the background, SIGINT is ignored, and children inherit that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from understudy.cli import app; app(prog_name='understudy')"
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
        (["run", "--url", "u", "--task", "t", "--wait"], "/wait", "understudy watch s-b2c"),
        (["run", "--url", "u", "--task", "t", "--watch"], "/s-b2c", "understudy watch s-b2c"),
    ],
)
def test_ctrl_c_ends_the_wait_and_cancels_nothing(fake: FakeApi, args: list[str], unanswered: str, go_on: str) -> None:
    fake.give_run(DISPATCHED)
    fake.give("/v1/simulations/extend", DISPATCHED, status=202)
    fake.unanswered = unanswered
    process = start(args)
    assert fake.heard_unanswered.wait(20)
    stderr = b""
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        # A signal that comes right before the read is noticed by Python after it: a person presses again.
        with suppress(subprocess.TimeoutExpired):
            _, stderr = process.communicate(timeout=20)
            break
    assert process.returncode == 130
    assert stderr.decode().strip() == f"Nothing was cancelled. Continue with: {go_on}"
    assert not any("cancel" in asked.path for asked in fake.asked)


@pytest.mark.parametrize("args", [["people", "list"], ["people", "list", "--json"]])
def test_a_closed_pipe_ends_the_command_without_an_error(fake: FakeApi, args: list[str]) -> None:
    # More than a pipe holds: the command still writes when the reader closes it.
    people = [{**PERSON, "name": f"Ana {number} " + "x" * 200} for number in range(400)]
    fake.give("/v1/people", {"items": people, "next_cursor": None})
    process = start(args, env={**os.environ, "PYTHONUNBUFFERED": ""})
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (141, b"")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from understudy.cli import app\n"
        "try: app(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'httpx', 'pydantic_settings', 'sqlalchemy', 'celery', 'fastapi'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"
