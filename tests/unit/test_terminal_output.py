"""No text from elsewhere acts on a terminal, whichever command shows it; files and pipes get exact bytes."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tests.hostile_api import CHARACTERS, HOSTILE, HostileApi
from tests.pseudo_terminal import PseudoTerminal
from tests.unit.syntax_trees import ROOT, nodes_by_module
from understudy.cli import app, progress
from understudy.cli.terminal import make_console, write_json, write_line
from understudy.domain.unprintable import UNPRINTABLE, escape_json, escape_text

UNPRINTABLE_CHARACTER = re.compile(f"[{UNPRINTABLE}]")
#: What our own views send: colours, the cursor, lines, and links of pages.
OWN_SEQUENCES = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[[0-9]*[AGK]|\x1b\]8;[^;\x1b\x07]*;[ -~]*\x1b\\|\r")

COMMANDS = {
    "run": "--url http://x/ --task Buy --people 1",
    "ask": "--question Which? --variant A --variant B",
    "watch": "s-b2c",
    "wait": "t-1f3",
    "get": "s-b2c",
    "cancel": "t-1f3",
    "pause": "s-b2c",
    "resume": "s-b2c",
    "delete": "s-b2c --yes",
    "extend": "t-1f3 --wait",
    "list": "",
    "iteration add": "s-b2c --url http://x/",
    "people list": "",
    "people generate": "1",
    "people import": "--panel varied-50",
    "people export": "",
    "people show": "tp-1f3",
    "people add": "--name Ana --age 4 --country ES --language es",
    "webhook create": "https://x/",
    "webhook list": "",
    "webhook delete": "wh-1f3",
    "webhook rotate": "wh-1f3",
    "webhook replay": "wh-1f3 --since 2026-12-01T09:00:00Z",
    "webhook deliveries": "wh-1f3",
    "ticket": "--study s-b2c",
    "docs": "concepts/overview --server {server}",
}
#: The first speaks JSON with a program; the others call no server.
LOCAL_COMMANDS = {
    *("mcp", "completion", "up", "demo", "api", "worker", "sweeper", "webhooks", "migrate", "prune", "shop", "chatbot"),
}
MORE = [
    *(f"get s-b2c --view {view}" for view in ("summary", "full", "per_participant", "transcripts")),
    *(f"get a-a1b --view {view}" for view in ("summary", "full", "per_participant")),
    *(f"get t-1f3 --view {view}" for view in ("journey", "transcript")),
    *("get t-1f3", "get a-a1b", "get tp-1f3", "get i-1f3", "get", "get --status failed", "ask", "list asks"),
    *("watch t-1f3", "watch a-a1b", "watch s-b2c --events", "run --url http://x/ --task Buy --watch"),
    *("people export --format json", "docs --server {server}", "cancel t-1f3 t-2e4", "ask --next a-a1b --wait"),
]
ALL = [*(f"{name} {arguments}".strip() for name, arguments in COMMANDS.items()), *MORE]


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileApi]:
    for name in [name for name in os.environ if name.startswith("UNDERSTUDY_")]:
        monkeypatch.delenv(name)
    server = HostileApi()
    (tmp_path / "server").write_text(f"{server.url}\n")
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("UNDERSTUDY_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(progress, "INTERVAL_S", 0.01)
    yield server
    server.close()


def on_terminal(server: HostileApi, command: str, *more: str) -> str:
    """Returns what a command shows on a terminal."""
    terminal = PseudoTerminal()
    with terminal.as_output():
        arguments = command.replace("{server}", server.url).split()
        code = app([*arguments, *more], standalone_mode=False)
    shown = terminal.close()
    assert "unexpected" not in shown
    assert code in {None, 0, 1, 2, 5}, shown
    return shown


def test_every_command_that_calls_a_server_is_tried() -> None:
    def leaves(command: Any, *names: str) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(names)
        for name, one in (inner or {}).items():
            yield from leaves(one, *names, name)

    # Other tests may have added the commands that run on this machine.
    found = {
        name
        for name in leaves(typer.main.get_command(app))
        if not name.startswith(("token ", "workspace ")) and name not in LOCAL_COMMANDS
    }
    assert found == {*COMMANDS}


@pytest.mark.parametrize("error_code", ["", "validation_error"])
@pytest.mark.parametrize("command", ALL)
def test_hostile_text_on_a_plain_terminal_is_shown_and_not_obeyed(
    hostile: HostileApi, monkeypatch: pytest.MonkeyPatch, command: str, error_code: str
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    hostile.error_code = error_code
    shown = on_terminal(hostile, command)
    assert UNPRINTABLE_CHARACTER.findall(shown) == []
    assert shown.strip()


@pytest.mark.parametrize("command", ALL)
def test_hostile_text_on_a_colour_terminal_adds_nothing_to_our_own_sequences(
    hostile: HostileApi, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = on_terminal(hostile, command)
    assert "\x1b[8m" not in shown
    assert UNPRINTABLE_CHARACTER.findall(OWN_SEQUENCES.sub("", shown)) == []


@pytest.mark.parametrize("error_code", ["", "validation_error"])
@pytest.mark.parametrize("command", [one for one in ALL if not re.search("docs|--events|--watch|replay", one)])
def test_json_on_a_terminal_has_escapes_and_the_same_value(
    hostile: HostileApi, monkeypatch: pytest.MonkeyPatch, command: str, error_code: str
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    hostile.error_code = error_code
    shown = on_terminal(hostile, command, "--json")
    assert UNPRINTABLE_CHARACTER.findall(shown) == []
    assert HOSTILE in [*texts(json_values(shown))]


def json_values(text: str) -> list[Any]:
    values = []
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


def test_output_to_a_pipe_has_the_exact_bytes(hostile: HostileApi) -> None:
    program = "from understudy.cli import app; app(prog_name='understudy')"
    answers = [
        subprocess.run([sys.executable, "-c", program, *command.split()], check=True, capture_output=True).stdout
        for command in ("people export", "people show tp-1f3 --json")
    ]
    assert answers[0] == HOSTILE.encode() + b"\n"
    assert json.loads(answers[1])["name"] == HOSTILE
    assert CHARACTERS.strip("\x00").encode()[-4:] in answers[1]


@pytest.mark.parametrize("write", [write_line, write_json, lambda text: make_console().print(text)])
def test_messages_of_this_machine_show_escapes_on_a_terminal(write: Callable[[str], None]) -> None:
    terminal = PseudoTerminal()
    with terminal.as_output():
        write(HOSTILE)
    shown = terminal.close()
    assert UNPRINTABLE_CHARACTER.findall(OWN_SEQUENCES.sub("", shown)) == []
    assert re.search(r"\\(x|u00)1b\]0;title", shown)


@pytest.mark.parametrize(
    "arguments", [["get", "t-\x1b[2J"], ["\x1b[2J"], ["get", "--\x1b[2J"], ["people", "import", "\x1b[2J"]]
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_arguments_in_error_messages_are_not_obeyed(
    hostile: HostileApi, monkeypatch: pytest.MonkeyPatch, arguments: list[str], more: list[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = PseudoTerminal()
    with terminal.as_output():
        app([*arguments, *more], standalone_mode=False)
    shown = terminal.close()
    assert shown.strip()
    assert UNPRINTABLE_CHARACTER.findall(shown) == []


def test_crash_shows_escapes_on_a_terminal() -> None:
    terminal = PseudoTerminal()
    program = (
        "from understudy.cli.terminal import report_crashes; report_crashes()\n"
        "import threading; t = threading.Thread(target=lambda: 1 / len('\\x1b[2J'[9:])); t.start(); t.join()\n"
        "raise ValueError('\\x1b[2J')"
    )
    with terminal.as_output():
        subprocess.run([sys.executable, "-c", program], check=False, stderr=sys.stderr.fileno())
    shown = terminal.close()
    assert "ValueError: \\x1b[2J" in shown
    assert "ZeroDivisionError" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("character", CHARACTERS)
def test_escapes_are_printable_and_json_keeps_the_value(character: str) -> None:
    assert escape_text(f"a{character}b").isprintable()
    quoted = json.dumps(f"a{character}b", ensure_ascii=False)
    assert escape_json(quoted).isprintable()
    assert json.loads(escape_json(quoted)) == f"a{character}b"


@pytest.mark.parametrize(
    "text", ["Zoë 李 → ·", "a\tb\nc", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "👩\u200d🔬", "שלום"]
)
def test_printable_text_is_not_escaped(text: str) -> None:
    assert escape_text(text) == text == escape_json(text)


def test_only_one_module_writes_to_stdout_and_stderr() -> None:
    def writes(node: ast.AST) -> bool:
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            return name in {"print", "Console", "typer.echo", "typer.secho", "typer.confirm", "typer.prompt"} or bool(
                re.fullmatch(r"sys\.std(out|err)\.(buffer\.)?write", name)
            )
        return False

    found = {
        str(path.relative_to(ROOT))
        for path, nodes in nodes_by_module().items()
        if path.is_relative_to(ROOT / "api/understudy/cli") or path.is_relative_to(ROOT / "deploy")
        if any(map(writes, nodes))
    }
    assert found <= {"api/understudy/cli/terminal.py"}
