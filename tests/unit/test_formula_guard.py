"""Exported tables: a spreadsheet runs none of their cells, and an import reads back what was exported."""

import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.domain.errors import ValidationError
from understudy.envelopes.people import Profile
from understudy.service.formula_guard import guard, unguard
from understudy.service.panels import read_csv, write_csv

#: What spreadsheets skip before they look for a formula.
SKIPPED = ' \t\r\n"\u00a0\u3000\ufeff\u200b'
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")

_parts = ["=", "+", "-", "@", "'", '"', "\t", "\r", "\n", ";", ",", "|", *SKIPPED, "\N{FULLWIDTH EQUALS SIGN}", "-1"]
_parts += ["null", "[", "{", "a", "é", "\x1f", "sep=;", "trait."]
texts = st.lists(st.sampled_from(_parts) | st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(
    "".join
)
names = texts.map(lambda text: text[:64]).filter(bool)
scalars = (
    st.none() | st.booleans() | st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | texts | st.from_regex(r"-?[0-9]{14,20}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
needs = st.dictionaries(st.just("accessibility"), values | st.lists(texts, max_size=3))
traits = st.builds(lambda some, need: some | need, st.dictionaries(names, values, max_size=3), needs)
profiles = st.builds(
    Profile, name=names, age=st.integers(0, 130), country=names, language=names, bio=texts, traits=traits
)


def cells_of(table: str) -> list[str]:
    """Returns the cells as a program sees them that separates by commas, by semicolons or by tabs."""
    rows = [cell for row in csv.reader(io.StringIO(table, newline="")) for cell in row]
    # The first cell of a line keeps its quotes; the others have none that such a program would notice.
    others = [line.split(sign)[1:] for line in re.split("[\r\n]", table) for sign in ";\t"]
    return rows + [cell for cells in others for cell in cells]


def runs(cell: str) -> bool:
    start = cell.lstrip(SKIPPED)[:1]
    return start != "" and start in "=+-@\uff1d\uff0b\uff0d\uff20" and not NUMBER.fullmatch(cell)


def as_json(people: list[Any]) -> list[str]:
    return [json.dumps(person.model_dump(), sort_keys=True) for person in people]


@given(st.lists(profiles, min_size=1, max_size=3))
def test_exported_people_are_read_back_identically_and_no_cell_is_a_formula(people: list[Profile]) -> None:
    table = write_csv(people)
    assert as_json(list(read_csv(table))) == as_json(people)
    assert [cell for cell in cells_of(table) if runs(cell)] == []


@pytest.mark.parametrize("start", ["", " ", "\t", '"', "'", "\u00a0", "\ufeff", "\n", "''", "a;", "a\t", "a\n", "a|"])
@pytest.mark.parametrize("formula", ['=HYPERLINK("http://evil")', "+1+1", "-2+3|cmd", "@SUM(1)", "\uff1d1"])
def test_guard_of_a_formula_puts_an_apostrophe_in_front(start: str, formula: str) -> None:
    cell = guard(start + formula)
    assert cell != start + formula
    assert not any(map(runs, re.split("[;\t\r\n|]", cell)))
    assert unguard(cell) == start + formula


@pytest.mark.parametrize("text", ["Ana", "'t Hooft", "O'Hara = O", "a-b", "-0.5", "-12", "1e-7", "a, = b", "it's"])
def test_guard_of_another_text_changes_nothing(text: str) -> None:
    assert (guard(text), unguard(text)) == (text, text)


def test_read_csv_of_an_unguarded_formula_keeps_it() -> None:
    (person,) = read_csv("name,age,country,language\n=1+1,61,DE,de\n")
    assert person.name == "=1+1"


def test_header_with_separators_in_a_quoted_name_is_no_other_separator() -> None:
    person = Profile(name="Ana", age=1, country="ES", language="es", bio="", traits={";" * 20: 1, "\r=x": 2})
    assert as_json(list(read_csv(write_csv([person])))) == as_json([person])


def test_write_csv_of_a_trait_without_a_name_is_refused() -> None:
    person = Profile(name="Ana", age=1, country="ES", language="es", bio="", traits={"": 1})
    with pytest.raises(ValidationError, match="trait without a name"):
        write_csv([person])
