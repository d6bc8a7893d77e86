"""The command line: reading the documentation, without a server."""

from collections.abc import Callable, Iterator

import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import Result

from tests.fake_api import FakeApi
from understudy import documentation
from understudy.cli import console
from understudy.client import Understudy
from understudy.envelopes.docs import DocEntry

Cli = Callable[..., Result]

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
PAGES = {
    "concepts/overview": (
        DocEntry(slug="concepts/overview", title="Overview", summary="What there is.\x1b[2J"),
        CONTENT,
    ),
    "reference/errors": (DocEntry(slug="reference/errors", title="Errors", summary="What goes wrong."), ""),
}


@pytest.fixture(autouse=True)
def _two_pages_and_no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(documentation, "_pages", lambda: PAGES)
    monkeypatch.setenv("UNDERSTUDY_SERVER", "http://127.0.0.1:1")
    monkeypatch.delenv("UNDERSTUDY_TOKEN", raising=False)
    return


def test_all_pages_are_listed(understudy: Cli) -> None:
    shown = understudy("docs").stdout
    assert shown.index("concepts/overview") < shown.index("What there is. [2J") < shown.index("reference/errors")


def test_a_pipe_gets_the_source_of_a_page(understudy: Cli) -> None:
    assert understudy("docs", "concepts/overview").stdout == CONTENT.replace("\x1b", " ")


def test_a_terminal_gets_a_page_laid_out(understudy: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        console,
        "make_console",
        lambda *, stderr: Console(stderr=stderr, width=60, force_terminal=True, color_system="standard"),
    )
    shown = understudy("docs", "concepts/overview").stdout
    words = " ".join(Text.from_ansi(shown).plain.split())
    assert "What there is. [2J" in words
    assert "See guides/first-study." in words
    assert "POST /v1/x" in shown, "a request is of one colour"
    assert [markup for markup in ("# Overview", "|---", "first-study.md") if markup in words] == []


@pytest.mark.parametrize(
    ("slug", "path"),
    [("../people", "%2E%2E/people"), ("a?b#c", "a%3Fb%23c"), ("\udc80", "%3F"), ("a" * 100_000, "a" * 201)],
    ids=["dots", "reserved characters", "surrogate", "too long"],
)
def test_the_client_escapes_a_slug_in_the_path(fake: FakeApi, slug: str, path: str) -> None:
    fake.give(f"/v1/docs/{path}", {"slug": "concepts/overview", "title": "Overview", "content": CONTENT})
    with Understudy(fake.url, "secret") as client:
        assert client.docs_get(slug).title == "Overview"
