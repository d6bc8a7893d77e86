"""Texts that a spreadsheet or a terminal would act on, in exports."""

import csv
import io
import json
import re
from collections.abc import Iterator

from tests.attack.attack import Answer, Attack
from tests.attack.target import Target
from tests.hostile_api import CHARACTERS
from tests.pseudo_terminal import PseudoTerminal
from tests.unit.test_formula_guard import cells_of, runs
from understudy.deploy.main import app

_FORMULAS = [
    *("=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example","x")', "\t=1", " =1"),
    *('"=1', "'=1", "\uff1d1", "\u200b=1", "\ufeff=1", "a;=1", "a\n=1", "a\r=1", "a\t=1", ",=1", "=", "|=1"),
]


def _formulas(target: Target) -> Iterator[Answer]:
    for text in _FORMULAS:
        person = {"name": text, "age": 30, "country": "GB", "language": text, "bio": text, "traits": {text: text}}
        answer = target.request("POST", "/v1/people", json=person)
        yield Answer(f"POST /v1/people name={text!r}", f"{answer.status_code}", answer.status_code in {201, 422})
    table = target.request("GET", "/v1/people/export", params={"format": "csv"}).text
    found = sorted({cell for cell in cells_of(table) if runs(cell)})
    rows = len(list(csv.reader(io.StringIO(table, newline=""))))
    yield Answer(
        "GET /v1/people/export?format=csv", f"{rows} rows, formulas: {found}", not found and rows > len(_FORMULAS)
    )


def _escapes(target: Target) -> Iterator[Answer]:
    kept = "".join(one for one in CHARACTERS if one != "\0" and not "\ud800" <= one <= "\udfff")
    hostile = f"\x1b]0;title\x07\x1b[2J{kept}"
    person = {"name": hostile[:100], "age": 30, "country": "GB", "language": "en", "bio": hostile}
    made = target.request("POST", "/v1/people", json=person)
    yield Answer("POST /v1/people name=ESC ]0;title", f"{made.status_code} {made.text}", made.status_code == 201)
    answer = target.request("GET", "/v1/people/export", params={"format": "json"})
    raw = [character for character in "\x1b\x07\x9b" if character in answer.text and character < " "]
    yield Answer("GET /v1/people/export?format=json", f"raw: {raw}", not raw and bool(json.loads(answer.text)))
    for arguments in (("people", "list"), ("people", "export", "--format", "csv")):
        shown = _terminal(target, *arguments)
        raw = [character for character in kept if character in shown and character not in "\r\n"]
        yield Answer(f"understudy {' '.join(arguments)} on a terminal", f"raw: {raw}", not raw and bool(shown))


def _terminal(target: Target, *arguments: str) -> str:
    """Returns what a command prints on a terminal, without our own colours."""
    terminal = PseudoTerminal()
    with terminal.as_output():
        app([*arguments, "--server", target.api, "--token", target.acme.secret], standalone_mode=False)
    return re.sub(r"\x1b\[[\d;]*m", "", terminal.close())


ATTACKS = [
    Attack("formula in an export", "no cell begins with one", _formulas, writes=True),
    Attack("escape sequence in an export", "a terminal gets none", _escapes, writes=True),
]
