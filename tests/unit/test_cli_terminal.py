"""The command line on terminals of all kinds: help, version, completion, ASCII and full disks."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner, Result

from tests.fake_api import PERSON, FakeApi, error_body
from understudy.deploy.main import app

Cli = Callable[..., Result]

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PROGRAM = "from understudy.cli import app; app(prog_name='understudy')"
NAME = "Zoë Łukasz 李 … → ·"
ZOE = PERSON | {"name": NAME, "bio": "“Hi” — \N{LEFT SINGLE QUOTATION MARK}you"}


def start(*args: str, env: dict[str, str], **options: Any) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", PROGRAM, *args]
    return subprocess.run(
        command, check=False, env={**os.environ, **env}, stderr=subprocess.PIPE, timeout=60, **options
    )


def paths(command: Any, *names: str) -> Iterator[list[str]]:
    yield [*names]
    for name, one in getattr(command, "commands", {}).items():
        yield from paths(one, *names, name)


COMMANDS = list(paths(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command_names_values_and_fits_80_columns(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short, long = (CliRunner().invoke(app, [*command, flag]) for flag in ("-h", "--help"))
    assert (short.exit_code, short.output) == (0, long.output)
    assert not re.findall(r"<[\w| ]+>", short.output)
    assert max(map(len, short.output.splitlines())) <= 80


def test_version_prints_the_version(understudy: Cli) -> None:
    assert understudy("--version").stdout == f"understudy {version('understudy')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_shell_prints_its_script(understudy: Cli, shell: str) -> None:
    script = understudy("completion", shell).stdout
    assert f"complete_{shell}" in script
    assert "_UNDERSTUDY_COMPLETE" in script


def test_completion_of_an_unknown_shell_is_refused(understudy: Cli) -> None:
    result = understudy("completion", "tcsh")
    assert (result.exit_code, result.stdout) == (2, "")


def test_completion_of_a_word_lists_the_commands_that_begin_with_it() -> None:
    env = {"_UNDERSTUDY_COMPLETE": "complete_bash", "COMP_WORDS": "understudy ca", "COMP_CWORD": "1"}
    assert start(env=env, stdout=subprocess.PIPE).stdout.split() == [b"cancel"]


@pytest.mark.parametrize("locale", [ASCII, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "cp1252"}])
@pytest.mark.parametrize("command", [["people", "list"], ["people", "import", "-"], ["people", "show", "tp-1f3"]])
def test_output_with_characters_that_the_terminal_lacks_is_similar_text(
    fake: FakeApi, command: list[str], locale: dict[str, str]
) -> None:
    fake.give("/v1/people", {"items": [ZOE], "next_cursor": None})
    fake.give("/v1/people/tp-1f3", ZOE)
    result = start(*command, env=locale, stdout=subprocess.PIPE, input=json.dumps([ZOE]).encode())
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"Zo" in result.stdout


def test_ascii_terminal_shows_typographic_characters_as_ascii(fake: FakeApi) -> None:
    fake.give("/v1/people/tp-1f3", ZOE)
    shown = start("people", "show", "tp-1f3", env=ASCII, stdout=subprocess.PIPE).stdout.decode("ascii")
    assert "Zoe ?ukasz ? ... -> |" in shown
    assert '"Hi" - \'you' in shown


def test_json_is_the_same_on_an_ascii_terminal(fake: FakeApi) -> None:
    fake.give("/v1/people/tp-1f3", ZOE)
    fake.give("/v1/people/tp-999", error_body("not_found") | {"error": "No Zoë."}, status=404)
    shown = start("people", "show", "tp-1f3", "--json", env=ASCII, stdout=subprocess.PIPE)
    assert json.loads(shown.stdout)["name"] == ZOE["name"]
    failed = start("people", "show", "tp-999", "--json", env=ASCII, stdout=subprocess.PIPE)
    assert json.loads(failed.stderr)["error"] == "No Zoë."


def test_arguments_in_utf_8_arrive_whole_under_an_ascii_locale(fake: FakeApi) -> None:
    fake.give("/v1/people", ZOE, status=201)
    arguments = ["--name", "Zoë", "--age", "41", "--country", "ES", "--language", "es"]
    result = start("people", "add", *arguments, env=ASCII, stdout=subprocess.PIPE)
    assert (result.returncode, fake.bodies[0]["name"]) == (0, "Zoë")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["people", "list"], ["people", "list", "--json"], ["--help"]])
def test_full_device_on_stdout_is_reported_without_a_traceback(fake: FakeApi, command: list[str]) -> None:
    fake.give("/v1/people", {"items": [PERSON] * 300, "next_cursor": None})
    with Path("/dev/full").open("wb") as full:
        result = start(*command, env={}, stdout=full)
    assert result.returncode == 1
    assert result.stderr.decode().startswith("understudy: the output is incomplete: No space left on device.")
    assert len(result.stderr.splitlines()) == 1
