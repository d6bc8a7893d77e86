"""`understudy workspace`: it works directly on the store, like `understudy token`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from understudy.deploy.main import app
from understudy.domain.errors import ERROR_RULES
from understudy.domain.workspace_settings import WORKSPACE_SETTINGS
from understudy.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    created = CliRunner().invoke(app, ["token", "create", "--workspace", "acme", "--data-dir", str(tmp_path)])
    assert created.exit_code == 0
    return tmp_path


def workspace(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["workspace", *words, "--data-dir", str(folder)])


def shown(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(workspace(folder, "show", "acme", "--json").stdout)["settings"]
    return settings


def test_show_of_a_new_workspace_prints_the_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_WORKSPACE_WAITS", "7")
    defaults = Settings()
    for name, values in shown(folder).items():
        default = getattr(defaults, f"workspace_{name}")
        used = None if name in {"weight", "retention_days"} else 0
        assert values == {"set": None, "default": default, "in_force": default, "used": used}
    assert shown(folder)["waits"]["default"] == 7
    assert {one.name for one in WORKSPACE_SETTINGS} == shown(folder).keys()


def test_set_changes_only_what_is_given_and_default_resets_it(folder: Path) -> None:
    done = workspace(
        folder, "set", "acme", "--waits", "3", "--stored-bytes", "1,000,000", "--event-streams", "unlimited"
    )
    assert done.exit_code == 0
    assert "1,000,000" in done.stdout
    values = {name: one["set"] for name, one in shown(folder).items() if one["set"] is not None}
    assert values == {"waits": 3, "stored_bytes": 1_000_000, "event_streams": 0}
    assert workspace(folder, "set", "acme", "--waits", "default", "--json").exit_code == 0
    assert shown(folder)["waits"] == {"set": None, "default": 10_000, "in_force": 10_000, "used": 0}
    assert shown(folder)["event_streams"]["in_force"] == 0


def test_set_of_retention_takes_days_and_none(folder: Path) -> None:
    assert workspace(folder, "set", "acme", "--retention-days", "30").exit_code == 0
    assert shown(folder)["retention_days"]["in_force"] == 30
    done = workspace(folder, "set", "acme", "--retention-days", "none")
    assert (done.exit_code, "none" in done.stdout) == (0, True)
    assert (shown(folder)["retention_days"]["set"], shown(folder)["retention_days"]["in_force"]) == (0, 0)
    for value in ("0", "-1", "36501", "1.5", "unlimited", "for ever"):
        refused = workspace(folder, "set", "acme", f"--retention-days={value}")
        assert "--retention-days must be a whole number from 1 to 36,500, `none` or `default`" in refused.stderr
    assert shown(folder)["retention_days"]["set"] == 0


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "", "nan", "inf", "1e3", "٣", "2147483648", "9" * 40])
def test_set_of_a_bad_value_names_the_option_and_changes_nothing(folder: Path, value: str) -> None:
    before = shown(folder)
    refused = workspace(folder, "set", "acme", "--participants-per-day", "5", f"--waits={value}")
    assert refused.exit_code == ERROR_RULES["validation_error"].exit_code
    assert "--waits must be a whole number from 1 to 2,147,483,647, `unlimited` or `default`" in refused.stderr
    assert shown(folder) == before


def test_set_without_a_value_and_unknown_names_are_refused(folder: Path) -> None:
    nothing = workspace(folder, "set", "acme")
    assert (nothing.exit_code, "--requests-per-minute" in nothing.stderr) == (2, True)
    for words in (("show", "nobody"), ("set", "nobody", "--waits", "1")):
        unknown = workspace(folder, *words)
        assert (unknown.exit_code, "There is no workspace 'nobody'" in unknown.stderr) == (4, True)
    listed = json.loads(workspace(folder, "list", "--json").stdout)["items"]
    assert [item["name"] for item in listed] == ["acme"]


def test_no_workspace_command_creates_a_store(tmp_path: Path) -> None:
    for words in (("list",), ("show", "acme"), ("set", "acme", "--waits", "1")):
        refused = workspace(tmp_path / "none", *words)
        assert (refused.exit_code, (tmp_path / "none").exists()) == (4, False)
