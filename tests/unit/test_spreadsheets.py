"""CSV as spreadsheets write it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.fake_api import PERSON, FakeApi
from understudy.cli import app
from understudy.domain.errors import ValidationError
from understudy.service.panels import read_csv

Cli = Callable[..., Result]

TABLE = "name,age,country,language\nZoë,61,DE,de\n"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + TABLE,
        "sep=;\n" + TABLE.replace(",", ";"),
        "\ufeffSEP=,\r\n" + TABLE.replace("\n", "\r\n"),
        "sep=\t\n" + TABLE.replace(",", "\t"),
        "name,age,country,language,,\nZoë,61,DE,de,,\n,,,,,\n",
        "name,age,country,language\nZoë,61,DE,de,,,\n",
        " Name , AGE,Country,Language\nZoë,61,DE,de\n",
        "\n\n" + TABLE,
    ],
)
def test_read_csv_of_a_spreadsheet_ignores_its_form(text: str) -> None:
    (person,) = read_csv(text)
    assert (person.name, person.age, person.country, person.language) == ("Zoë", 61, "DE", "de")


@pytest.mark.parametrize("digits", ["4012345678901234", "12345678901234567890", "0049123", "-1234567890123456789012"])
def test_read_csv_of_long_digits_keeps_them_as_text(digits: str) -> None:
    (person,) = read_csv(f"name,age,country,language,Trait.card\nZoë,61,DE,de,{digits}\n")
    assert person.traits == {"card": digits}


def test_read_csv_with_a_value_under_no_column_names_the_line() -> None:
    with pytest.raises(ValidationError, match=r"line 3: it has 5 cells"):
        read_csv("sep=,\nname,age,country,language\nZoë,61,DE,de,more\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("from_stdin", [True, False])
def test_import_reads_the_encodings_of_spreadsheets(
    fake: FakeApi, tmp_path: Path, encoding: str, *, from_stdin: bool
) -> None:
    fake.give("/v1/people", {"items": [PERSON]}, status=201)
    content = (("\ufeff" if encoding == "utf-16-be" else "") + TABLE).encode(encoding)
    (tmp_path / "people.csv").write_bytes(content)
    file = "-" if from_stdin else str(tmp_path / "people.csv")
    assert CliRunner().invoke(app, ["people", "import", file], input=content).exit_code == 0
    assert fake.bodies == [{"csv": TABLE}]


@pytest.mark.parametrize("line_break", ["\r\n", "\r", "\n"])
def test_import_keeps_line_breaks_in_cells(fake: FakeApi, tmp_path: Path, line_break: str) -> None:
    fake.give("/v1/people", {"items": [PERSON]}, status=201)
    table = f'name,age,country,language,bio{line_break}Zoë,61,DE,de,"a\r\nb\rc\nd"{line_break}'
    (tmp_path / "people.csv").write_bytes(table.encode())
    assert CliRunner().invoke(app, ["people", "import", str(tmp_path / "people.csv")]).exit_code == 0
    assert fake.bodies == [{"csv": table}]
    assert read_csv(table)[0].bio == "a\r\nb\rc\nd"


def test_import_of_another_encoding_says_which_ones_there_are(fake: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes(TABLE.encode("latin-1"))
    result = CliRunner().invoke(app, ["people", "import", str(tmp_path / "people.csv")])
    assert (result.exit_code, fake.asked) == (2, [])
    assert "save it as UTF-8" in result.stderr


def test_export_to_a_dash_prints(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/people/export", {"people": []})
    assert json.loads(understudy("people", "export", "-", "--format", "json").stdout) == {"people": []}
