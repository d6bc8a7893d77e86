"""`understudy token`: it works directly on the store and never migrates one."""

import json
import sqlite3
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from understudy.deploy.main import app


def token(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["token", *words, "--data-dir", str(folder)])


def revisions(file: Path) -> list[str]:
    with sqlite3.connect(file) as connection:
        return [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]


@pytest.mark.parametrize("name", ["plain", "what?", "a#b", "50% off", "größe"])
def test_create_makes_the_embedded_store_inside_the_named_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    created = token(folder, "create", "--workspace", "acme", "--json")
    assert created.exit_code == 0, created.output
    assert stat.S_IMODE((folder / "understudy.db").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [name]
    listed = json.loads(token(folder, "list", "--json").stdout)["items"]
    assert [item["id"] for item in listed] == [json.loads(created.stdout)["id"]]


def test_list_and_revoke_create_nothing(tmp_path: Path) -> None:
    for words in (("list",), ("revoke", "00000000-0000-4000-8000-000000000000")):
        refused = token(tmp_path / "none", *words)
        assert (refused.exit_code, (tmp_path / "none").exists()) == (4, False)


def test_no_token_command_migrates_an_older_store(tmp_path: Path) -> None:
    token(tmp_path, "create", "--workspace", "acme")
    file = tmp_path / "understudy.db"
    with sqlite3.connect(file) as connection:
        connection.execute("DROP INDEX ix_idempotency_key")
        connection.execute("UPDATE alembic_version SET version_num = '0006'")
    assert token(tmp_path, "create", "--workspace", "rival").exit_code == 0
    assert token(tmp_path, "list").exit_code == 0
    assert revisions(file) == ["0006"]


def test_a_named_store_without_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "other.db"
    monkeypatch.setenv("UNDERSTUDY_DATABASE_URL", f"sqlite:///{file}")
    refused = token(tmp_path, "create", "--workspace", "acme")
    assert (refused.exit_code, "understudy migrate" in refused.output) == (4, True)
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
