"""Sentences that users see: no openings and phrases that a reader has to read twice."""

import ast
import re
from collections.abc import Iterator

import pytest
import typer

from tests.unit.syntax_trees import ROOT, nodes_by_module
from understudy import documentation
from understudy.deploy.main import app
from understudy.telemetry import metrics
from understudy.telemetry.exporter import METRIC_SPECS

#: A sentence that begins with a bare pronoun has no subject that a reader knows.
OPENING = re.compile(
    r"(?:^|[.;:] |\n)(?:Who|Whoever|Whatever|What|Nobody|Somebody|Everybody|Of (?:who|what|those|it))\b"
    r"[^?\n]*?[.;,]"
)
#: Words of a private dialect, with what they stand for in the glossary.
PHRASES = {
    "taken up again": "resumed",
    "take up again": "resume",
    "is through": "finished",
    "are through": "finished",
    "give back": "release",
    "gives back": "releases",
    "given back": "released",
    "goes on elsewhere": "continues on another worker",
    "as ever": "as before",
    "all the same": "nevertheless",
    "doorbell": "notification",
    "is away": "is unavailable",
    "the lease ran out": "the lease expired",
    "makes it good": "retries",
    "owed": "unpublished",
}
_PHRASE = re.compile(r"\b(" + "|".join(PHRASES) + r")\b", re.IGNORECASE)


def problems(text: str) -> list[str]:
    """The phrases and openings in `text` that a reader has to read twice."""
    found = [f"{match[0]!r}: say {PHRASES[match[1].lower()]!r}" for match in _PHRASE.finditer(text)]
    return found + [f"opening {match[0].strip()!r}" for match in OPENING.finditer(text)]


def _prose(page: str) -> str:
    """A page without its code, its tables' code and its generated parts' names."""
    return re.sub(r"`[^`\n]*`", "`…`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))


def _commands(command: object, path: str = "understudy") -> Iterator[tuple[str, str]]:
    yield path, getattr(command, "help", "") or ""
    for parameter in getattr(command, "params", ()):
        yield f"{path} {parameter.name}", getattr(parameter, "help", "") or ""
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{path} {name}")


def _messages() -> Iterator[tuple[str, str]]:
    """Texts of errors that are raised and of lines that are logged."""
    for path, nodes in nodes_by_module().items():
        for node in nodes:
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else function.id
            owner = function.value if isinstance(function, ast.Attribute) else None
            is_log = isinstance(owner, ast.Name) and owner.id == "log"
            if is_log or (node.args and name.endswith(_ERRORS)):
                inner = (one for argument in node.args for one in ast.walk(argument))
                constants = [one.value for one in inner if isinstance(one, ast.Constant)]
                yield (
                    f"{path.relative_to(ROOT)}:{node.lineno}",
                    "".join(text for text in constants if isinstance(text, str)),
                )


_ERRORS = ("Error", "NotFound", "Conflict", "AuthFailed", "ServiceUnavailable", "Unreachable", "Failed")


@pytest.mark.parametrize("slug", documentation.SLUGS)
def test_a_page_is_plain_english(slug: str) -> None:
    assert not problems(_prose(documentation.get_doc(slug).content))


def test_help_of_commands_and_metrics_is_plain_english() -> None:
    assert metrics.participants
    help_texts = [*_commands(typer.main.get_command(app)), *((spec.name, spec.help) for spec in METRIC_SPECS.values())]
    assert not [(where, found) for where, text in help_texts if (found := problems(text))]


def test_errors_and_log_lines_are_plain_english() -> None:
    assert not [(where, found) for where, text in _messages() if (found := problems(text))]


@pytest.mark.parametrize(
    "riddle", ["Who comes late gets nothing.", "It works. What it was told, it does.", "The run is taken up again."]
)
def test_a_riddle_is_found(riddle: str) -> None:
    assert problems(riddle)
    assert not problems("The worker releases the participant; another worker claims it. What is a study?")
