"""Reads and writes panels as CSV, and loads the built-in panel.

A table has a column for each field, one for `accessibility` (semicolons separate several needs), and
`trait.NAME` for each other trait. Case and blanks of column names, trailing empty columns and a `sep=` line do not
count. A trait cell that parses as JSON (a number, true, a list, a quoted text) has that value; an empty cell means no
trait. A number of more than 15 digits stays text. An apostrophe guards a cell that a spreadsheet would run; a table
that `write_csv` wrote is read back unchanged.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any

import pydantic

from understudy.domain.errors import ValidationError
from understudy.envelopes.people import Profile
from understudy.operations.requests import MAX_PEOPLE, PersonRequest
from understudy.operations.validation_messages import format_problems
from understudy.service.formula_guard import guard, unguard

FOLDER = files("understudy.panels")
FIELDS = ("name", "age", "country", "language", "bio")
_REQUIRED = ("name", "age", "country", "language")
_ACCESSIBILITY = "accessibility"
_TRAIT = "trait."
_MAX_COLUMNS = 200
#: Maximum characters of an unknown column name that an error repeats.
_MAX_SHOWN = 64
#: Maximum invalid lines that an error lists.
_MAX_LISTED = 5
_MAX_DEPTH = 64
_MAX_INTEGER = 2**63 - 1
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_WHOLE_NUMBER = re.compile(r"\d{1,4}")
#: A decimal comma, as many locales write it in spreadsheets that separate cells by semicolons.
_DECIMAL_COMMA = re.compile(r"-?\d{1,12},\d{1,12}")
#: A line that names the separator, for spreadsheets.
_SEPARATOR_LINE = re.compile(r"sep=([^\"\r\n])(?:\r\n|\r|\n)", re.IGNORECASE)
#: The header: quoted names may have separators and line breaks.
_HEADER = re.compile(r'(?:[^"\r\n]|"[^"]*")*')
_QUOTED = re.compile(r'"[^"]*"')
#: Signs at which some program could end a cell; it is quoted for them.
_QUOTE = re.compile(r"[,;|\t\r\n\"']")
#: Digits that stay text: card and account numbers, of which most programs would round the last digits.
_LONG_NUMBER = re.compile(r"-?\d{16,}")
#: The start of a cell that may be JSON.
_JSON = re.compile(r'[-\d"\[{]|true$|false$|null$')


def built_in_panel(name: str) -> list[PersonRequest]:
    """Returns the people of a built-in panel; `name` is a value of `BuiltInPanelRequest.panel`."""
    return read_csv((FOLDER / f"{name}.csv").read_text(encoding="utf-8"))


def read_csv(text: str) -> list[PersonRequest]:
    """Returns the people of a CSV table. Raises ValidationError that lists the invalid lines."""
    text = text.removeprefix("\ufeff")
    if declared := _SEPARATOR_LINE.match(text):
        delimiter = declared[1]
        # An empty line in its place keeps the numbers of the lines.
        text = f"\n{text[declared.end() :]}"
    else:
        delimiter = max(",;\t", key=_header(text).count)
    rows = _rows(text, delimiter)
    line, header = next((row for row in rows if any(map(str.strip, row[1]))), (1, []))
    columns = [_column(name) for name in header]
    while columns and not columns[-1]:
        columns.pop()
    _check_columns(columns, line)
    people: list[PersonRequest] = []
    errors: list[str] = []
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(people) == MAX_PEOPLE:
            raise ValidationError(
                f"line {line}: one import takes at most {MAX_PEOPLE:,} people. No people were imported."
            )
        try:
            people.append(_person(columns, cells, decimal_comma=delimiter == ";"))
        except pydantic.ValidationError as problem:
            errors.append(f"line {line}: {format_problems(problem.errors())}")
        except ValueError as problem:
            errors.append(f"line {line}: {problem}")
    if errors:
        suffix = f"; and {len(errors) - _MAX_LISTED:,} more lines" if len(errors) > _MAX_LISTED else ""
        raise ValidationError(f"{'; '.join(errors[:_MAX_LISTED])}{suffix}. No people were imported.")
    if not people:
        raise ValidationError("The table has no people: no row follows its header.")
    return people


def write_csv(people: Sequence[Profile]) -> str:
    """Returns a CSV table of these people that `read_csv` accepts. Raises ValidationError for too many columns."""
    traits = sorted({name for person in people for name in person.traits if name != _ACCESSIBILITY})
    columns = len(FIELDS) + 1 + len(traits)
    if columns > _MAX_COLUMNS:
        raise ValidationError(
            f"A CSV table has at most {_MAX_COLUMNS} columns; the traits of these people need {columns:,}.",
            suggestions=("Filter the people, or export them as JSON.",),
        )
    lines = [_line([*FIELDS, _ACCESSIBILITY, *map(_trait_column, traits)])]
    for person in people:
        cells = [str(getattr(person, field)) for field in FIELDS]
        cells.append(_format_needs(person.traits[_ACCESSIBILITY]) if _ACCESSIBILITY in person.traits else "")
        cells += [_format_cell(person.traits[name]) if name in person.traits else "" for name in traits]
        lines.append(_line(map(guard, cells)))
    return "".join(lines)


def _line(cells: Iterable[str]) -> str:
    # The quotes of csv.writer differ between versions of Python.
    quoted = ('"' + cell.replace('"', '""') + '"' if _QUOTE.search(cell) else cell for cell in cells)
    return ",".join(quoted) + "\n"


def _header(text: str) -> str:
    """Returns the line of column names without quoted names, which may have separators."""
    header = _HEADER.match(text.lstrip())
    return _QUOTED.sub("", header[0] if header else "")


def _trait_column(name: str) -> str:
    if not name:
        raise ValidationError(
            "A CSV table has no column for a trait without a name.", suggestions=("Export the people as JSON.",)
        )
    column = guard(_TRAIT + name)
    # `_column` cuts off blanks unless an apostrophe stands in front, as in no other column.
    return f"'{column}" if not column.startswith("'") and name != name.strip() else column


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields each row with its first line number. Raises ValidationError for invalid CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise ValidationError(
                    f"line {line}: a quote is opened and never closed. No people were imported."
                ) from error
            raise ValidationError(f"line {line}: {error}. No people were imported.") from error


def _check_columns(columns: Sequence[str], line: int) -> None:
    where = f"line {line}, the column names:"
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise ValidationError(f"{where} {', '.join(missing)} missing. No people were imported.")
    if len(columns) > _MAX_COLUMNS:
        raise ValidationError(f"{where} at most {_MAX_COLUMNS}, not {len(columns):,}.")
    for name in columns:
        trait = name.removeprefix(_TRAIT)
        known = name in (*FIELDS, _ACCESSIBILITY) or (name.startswith(_TRAIT) and trait not in ("", _ACCESSIBILITY))
        if not known or columns.count(name) > 1:
            raise ValidationError(
                f"{where} {name[:_MAX_SHOWN]!r} is {'given twice' if known else 'unknown'}; use "
                f"{', '.join((*FIELDS, _ACCESSIBILITY))} or {_TRAIT}NAME. No people were imported."
            )


def _column(name: str) -> str:
    """Returns the name of a column as we write it: spreadsheets capitalise field names and add blanks."""
    if name.startswith(f"'{_TRAIT}"):
        return unguard(name).removeprefix("'")
    name = unguard(name)
    lower = name.lower()
    if lower.startswith(_TRAIT):
        return _TRAIT + name[len(_TRAIT) :].strip()
    return lower if lower in (*FIELDS, _ACCESSIBILITY) else name


def _person(columns: Sequence[str], cells: Sequence[str], *, decimal_comma: bool) -> PersonRequest:
    # Spreadsheets fill up every row to the width of the widest one.
    while len(cells) > len(columns) and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) != len(columns):
        raise ValueError(f"it has {len(cells)} cells, but the header has {len(columns)} columns")
    fields: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    for column, cell in zip(columns, map(unguard, cells), strict=True):
        if column == "age":
            fields[column] = int(cell) if cell.isascii() and _WHOLE_NUMBER.fullmatch(cell) else cell
        elif column in FIELDS:
            fields[column] = cell
        elif decimal_comma and column != _ACCESSIBILITY and _DECIMAL_COMMA.fullmatch(cell):
            traits[column.removeprefix(_TRAIT)] = float(cell.replace(",", "."))
        elif cell:
            traits[column.removeprefix(_TRAIT)] = _value(column, cell)
    return PersonRequest(**fields, traits=traits)


def _value(column: str, cell: str) -> Any:
    value: Any = cell
    if _JSON.match(cell) and not _LONG_NUMBER.fullmatch(cell):
        try:
            value = json.loads(cell, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            value = cell
    _check_value(column, value, 1)
    if column == _ACCESSIBILITY and isinstance(value, str) and not cell.startswith('"'):
        return [need.strip() for need in cell.split(";") if need.strip()]
    return value


def _check_value(column: str, value: Any, depth: int) -> None:
    """Raises ValueError for a value that the store cannot hold."""
    if isinstance(value, dict | list):
        if depth == _MAX_DEPTH:
            raise ValueError(f"{column}: more than {_MAX_DEPTH} levels deep")
        parts = (*value, *value.values()) if isinstance(value, dict) else value
        for part in parts:
            _check_value(column, part, depth + 1)
    elif isinstance(value, str) and _UNSTORABLE.search(value):
        raise ValueError(f"{column}: the text has a NUL or a lone surrogate; remove it")
    elif (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, int) and abs(value) > _MAX_INTEGER
    ):
        raise ValueError(f"{column}: the number is too large")


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _format_cell(value: Any) -> str:
    """Returns a trait as a cell that `read_csv` parses back to the same value."""
    if isinstance(value, str) and value == value.strip() != "":
        plain = not _JSON.match(value) or _LONG_NUMBER.fullmatch(value)
        return value if plain else _format_json(value)
    return _format_json(value)


def _format_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # The blank, which its guard keeps, tells a long number from digits that stay text.
    return f"{text} " if _LONG_NUMBER.fullmatch(text) else text


def _format_needs(value: Any) -> str:
    plain = isinstance(value, list) and all(
        isinstance(need, str) and need == need.strip() != "" and ";" not in need and not _JSON.match(need)
        for need in value
    )
    if plain and value:
        return "; ".join(value)
    return _format_json(value)
