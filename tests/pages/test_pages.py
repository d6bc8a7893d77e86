"""The pages have their form, and their links, lists and bounds agree with the program."""

import re
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

import pytest

from tests.pages.generated import PAGES, make, parts_of
from understudy.admission.middleware import MAX_BODY, MAX_DEPTH, MAX_PEOPLE_BODY, MIB
from understudy.documentation import FOLDER, SLUGS
from understudy.domain.cancellation import ALREADY_TERMINAL, NOT_DISPATCHED, SCOPES
from understudy.domain.errors import ERROR_RULES
from understudy.domain.extension import DEFAULT_ADDITIONAL_STEPS, MAX_INSTRUCTION_LENGTH
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import ACTIVE, TERMINAL, FailureKind, Outcome, Status
from understudy.domain.people import DEFAULT_PANEL_SIZE
from understudy.models.profiles import ModelSettings, Profile
from understudy.operations import requests
from understudy.operations.requests import DEFAULT_PAGE, MAX_KEY_LENGTH, MAX_PAGE
from understudy.service.dispatching import DEFAULT_MAX_INTERACTIONS
from understudy.service.response import MAX_IDS_TO_WAIT_FOR
from understudy.settings import Settings

ROOT = FOLDER.parent
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#:]+\.md)\)")
_SLUG = re.compile(r"\b(?:concepts|guides|reference)/[a-z][a-z-]+")
_SETTINGS = Settings()
EXTENDING = "concepts/extending-a-simulation"


def page(slug: str) -> str:
    """Returns a page's text."""
    return (FOLDER / f"{slug}.md").read_text()


def rows(slug: str, *columns: str) -> list[list[str]]:
    """Returns the cells of the page's table with this header."""
    lines = page(slug).splitlines()
    first = next(k for k, line in enumerate(lines) if _cells(line) == list(columns))
    return [_cells(line) for line in takewhile(lambda line: line.startswith("|"), lines[first + 2 :])]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def names(cells: Iterable[str]) -> list[str]:
    return [cell.strip("`") for cell in cells]


# -- form --------------------------------------------------------------------------------------------------


def test_the_list_of_pages_is_complete() -> None:
    folders = {slug.partition("/")[0] for slug in SLUGS}
    files = [file for folder in folders for file in (FOLDER / folder).glob("*.md")]
    assert sorted(SLUGS) == sorted(file.relative_to(FOLDER).with_suffix("").as_posix() for file in files)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_page_begins_with_its_title_and_its_summary(slug: str) -> None:
    title, summary, rest = page(slug).split("\n\n", 2)
    assert re.fullmatch(r"# \S.*\S", title)
    assert 40 < len(summary) < 300
    assert summary.endswith(".")
    # The list of pages shows it alone: it has no links.
    assert "](" not in summary
    assert "\n# " not in re.sub(r"```.*?```", "", rest, flags=re.DOTALL)


@pytest.mark.parametrize("slug", SLUGS)
def test_links_show_the_slug_of_an_existing_page(slug: str) -> None:
    links = _LINK.findall(page(slug))
    targets = [((FOLDER / slug).parent / target).resolve().relative_to(FOLDER) for _, target in links]
    slugs = [target.with_suffix("").as_posix() for target in targets]
    assert [text for text, _ in links] == [f"`{target}`" for target in slugs]
    assert set(slugs) <= set(SLUGS)


def test_every_slug_in_texts_and_code_is_a_page() -> None:
    code = (file for part in ("api", "deploy", "shared", "worker") for file in (ROOT / part).rglob("*.py"))
    named = {
        slug: file
        for file in (*ROOT.glob("*.md"), *FOLDER.rglob("*.md"), *code)
        for slug in _SLUG.findall(file.read_text())
    }
    # `concepts/nothing` is an example of a missing page.
    assert {slug: file for slug, file in named.items() if slug not in {*SLUGS, "concepts/nothing"}} == {}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_the_generated_parts_are_up_to_date(file: Path) -> None:
    parts = dict(parts_of(file))
    assert parts == {name: make(name) for name in parts}, "run `make pages`"


# -- lists -------------------------------------------------------------------------------------------------


def test_the_error_codes_are_those_of_the_program() -> None:
    table = rows("reference/errors", "error_code", "HTTP", "retryable", "exit code", "what to do")
    assert {
        code.strip("`"): (int(http), {"yes": True, "no": False}[retryable], int(exit_code))
        for code, http, retryable, exit_code, _ in table
    } == ERROR_RULES
    assert len(table) == len(ERROR_RULES)


def test_each_error_code_stands_with_its_exit_code() -> None:
    meanings = {int(code): meaning for code, meaning in rows("reference/cli", "code", "meaning")}
    assert [code for code, rule in ERROR_RULES.items() if f"`{code}`" not in meanings[rule.exit_code]] == []


def test_statuses_outcomes_and_kinds_of_failure_are_complete() -> None:
    about = "concepts/participants-and-status"
    statuses = rows(about, "status", "meaning", "active", "end")
    assert names(row[0] for row in statuses) == list(Status)
    assert {row[0].strip("`") for row in statuses if row[2] == "yes"} == ACTIVE
    assert {row[0].strip("`") for row in statuses if row[3] == "yes"} == TERMINAL
    assert names(row[0] for row in rows(about, "outcome", "meaning")) == [*Outcome, "null"]
    assert names(row[0] for row in rows(about, "error_kind", "meaning")) == list(FailureKind)


def test_scopes_and_skip_reasons_of_a_cancel_are_complete() -> None:
    about = "concepts/cancelling-a-simulation"
    assert names(row[0] for row in rows(about, "parameter", "stops"))[: len(SCOPES)] == list(SCOPES)
    assert [reason for reason in (ALREADY_TERMINAL, NOT_DISPATCHED) if f"`{reason}`" not in page(about)] == []


def test_prefixes_of_aliases_are_those_of_the_program() -> None:
    prefixes = {row[2].strip("`-") for row in rows("concepts/overview", "thing", "what it is", "alias")}
    assert {kind.value for kind in Kind} == prefixes - {"a number from 0"}


# -- bounds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slug", "sentence"),
    [
        ("concepts/extending-a-simulation", f"`additional_steps` defaults to {DEFAULT_ADDITIONAL_STEPS}"),
        ("concepts/extending-a-simulation", f"from 1 to {_SETTINGS.max_additional_steps}"),
        ("concepts/extending-a-simulation", f"At most {MAX_INSTRUCTION_LENGTH:,} characters"),
        ("concepts/participants-and-status", "at the third loss"),
        ("guides/first-study", f"out of the {DEFAULT_PANEL_SIZE} that every new workspace has"),
        ("reference/long-running-jobs", f"{requests.DEFAULT_WAIT_S:g} seconds"),
        ("reference/long-running-jobs", f"{_SETTINGS.max_wait_s:,.0f} seconds"),
        ("reference/long-running-jobs", f"For up to {MAX_IDS_TO_WAIT_FOR} participants"),
        ("reference/long-running-jobs", f"1 to {MAX_KEY_LENGTH} characters"),
        ("reference/rest", f"from 1 to {_SETTINGS.max_additional_steps}"),
        ("reference/rest", f"at most {_SETTINGS.max_wait_s:,.0f} seconds"),
        ("reference/rest", f"at most {_SETTINGS.max_participants_per_run:,} "),
        ("reference/rest", f"`limit` defaults to {DEFAULT_PAGE} and is at most {MAX_PAGE}"),
        ("reference/rest", f"at most {MAX_BODY // MIB} MiB (people: {MAX_PEOPLE_BODY // MIB} MiB)"),
        ("reference/rest", f"at most {MAX_DEPTH} levels"),
        ("reference/rest", f"the default is {DEFAULT_MAX_INTERACTIONS}"),
        ("reference/errors", f"larger than {MAX_BODY // MIB} MiB, or {MAX_PEOPLE_BODY // MIB} MiB"),
    ],
)
def test_bounds_and_defaults_are_those_of_the_program(slug: str, sentence: str) -> None:
    assert sentence in " ".join(page(slug).split())


def test_all_settings_on_pages_exist() -> None:
    named = set(re.findall(r"UNDERSTUDY_([A-Z_]+)", "".join(page(slug) for slug in SLUGS)))
    named |= {row[2].strip("`") for row in rows("reference/rest", "what", "bound", "setting")}
    known = {field.upper() for field in Settings.model_fields} | {"SERVER", "TOKEN"}
    assert named <= known | {f"LLM_{field.upper()}" for field in ModelSettings.model_fields}


def test_the_settings_of_language_models_are_complete_with_their_defaults() -> None:
    settings = rows("guides/language-models", "setting", "default", "")
    defaults = {name.lower(): row[1] for row in settings for name in re.findall(r"LLM_([A-Z_]+)", row[0])}
    limits = {row[0].strip("`").lower() for row in rows("guides/language-models", "setting", "limits")}
    assert set(defaults) | {name.removeprefix("understudy_llm_") for name in limits} == set(ModelSettings.model_fields)
    numbers = ("timeout_s", "retries", "context_tokens", "max_output_tokens")
    expected = {name: f"{Profile.model_fields[name].default:g}" for name in numbers}
    assert {name: defaults[name] for name in numbers} == expected


def test_the_pages_are_beside_the_packages() -> None:
    assert Path(FOLDER) == ROOT / "docs"
