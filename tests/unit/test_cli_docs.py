"""The command line: reading the documentation."""

import json
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import Result

from api.cli import console
from api.client import Understudy
from tests.fake_api import FakeApi

Cli = Callable[..., Result]

ENTRIES = [
    {"slug": "concepts/overview", "title": "Overview", "summary": "What there is.\x1b[2J"},
    {"slug": "reference/errors", "title": "Errors", "summary": "What goes wrong."},
]
CONTENT = """# Overview

What *there* is.\x1b[2J

See [`guides/first-study`](../guides/first-study.md).

| a | b |
|---|---|
| 1 | 2 |

```http
POST /v1/x

{"a": 1}
```
"""
DOC = {"slug": "concepts/overview", "title": "Overview", "content": CONTENT}


def test_all_pages_are_listed(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/docs", {"items": ENTRIES, "next_cursor": None})
    shown = understudy("docs").stdout
    assert (
        shown.index("concepts/overview") < shown.index("What there is. [2J") < shown.index("reference/errors")
    )


def test_a_pipe_gets_the_page_as_it_is_written(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/docs/concepts/overview", DOC)
    assert understudy("docs", "concepts/overview").stdout == CONTENT.replace("\x1b", " ")


def test_a_terminal_gets_it_laid_out(fake: FakeApi, understudy: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        console,
        "_console",
        lambda *, stderr: Console(stderr=stderr, width=60, force_terminal=True, color_system="standard"),
    )
    fake.give("/v1/docs/concepts/overview", DOC)
    shown = understudy("docs", "concepts/overview").stdout
    words = " ".join(Text.from_ansi(shown).plain.split())
    assert "What there is. [2J" in words
    assert "# Overview" not in words
    assert "|---" not in words
    assert "See guides/first-study." in words
    assert "first-study.md" not in shown
    # Each part of it in its colour, and a request whole.
    assert "POST /v1/x" in shown


@pytest.mark.parametrize(
    ("args", "path", "answer"),
    [
        (["docs"], "/v1/docs", {"items": ENTRIES, "next_cursor": None}),
        (["docs", "concepts/overview"], "/v1/docs/concepts/overview", DOC),
    ],
)
def test_json_prints_the_apis_answer(
    fake: FakeApi, understudy: Cli, args: list[str], path: str, answer: object
) -> None:
    fake.give(path, json.dumps(answer, indent=1).encode())
    assert understudy(*args, "--json").stdout == json.dumps(answer, indent=1) + "\n"


@pytest.mark.parametrize(
    ("slug", "path"),
    [
        ("concepts/overview", "/v1/docs/concepts/overview"),
        ("../people", "/v1/docs/%2E%2E/people"),
        ("a?b#c", "/v1/docs/a%3Fb%23c"),
        ("", "/v1/docs/"),
        ("\udc80", "/v1/docs/%3F"),
        ("a" * 100_000, "/v1/docs/" + "a" * 201),
    ],
)
def test_a_slug_stays_a_slug_on_its_way(fake: FakeApi, slug: str, path: str) -> None:
    fake.give(path, DOC)
    with Understudy(fake.url, "secret") as client:
        assert client.docs_get(slug).title == "Overview"
