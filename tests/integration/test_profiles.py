"""Profiles of language models: errors name the wrong setting and the right form, and never a key."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from understudy.models import ModelFailed
from understudy.models.endpoint.endpoint import endpoint_of
from understudy.models.profiles import find_profile, model_settings, profile_for
from understudy.plugins.allowed_workspaces import Workspace

KEY = "sk-a-key-that-nobody-else-may-see"
HERE = 'base_url = "http://127.0.0.1:11434/v1"\nmodel = "m"\n'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of profiles that this process goes by."""
    path = tmp_path / "profiles.toml"
    monkeypatch.setenv("UNDERSTUDY_LLM_PROFILES_FILE", str(path))
    forget()
    yield path
    forget()


def forget() -> None:
    model_settings.cache_clear()
    find_profile.cache_clear()


def refused(name: str = "cheap") -> str:
    with pytest.raises(ModelFailed) as failure:
        find_profile(name).key()
    assert KEY not in str(failure.value)
    return str(failure.value)


def test_profiles_have_their_own_settings_and_variables_replace_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent / "key").write_text(f"{KEY}\n")
    file.write_text(f'[cheap]\n{HERE}api_key_file = "{file.parent / "key"}"\nretries = 1\n[default]\n{HERE}')
    assert (find_profile("cheap").key(), find_profile("cheap").retries) == (KEY, 1)
    assert find_profile("").model == "m"
    forget()
    monkeypatch.setenv("UNDERSTUDY_LLM_BASE_URL", "http://[::1]:8080/v1")
    monkeypatch.setenv("UNDERSTUDY_LLM_MODEL", "other")
    assert (find_profile("").model, find_profile("").display_url) == ("other", "http://[::1]:8080/v1")


def test_unknown_profile_is_reported_with_the_available_ones(file: Path) -> None:
    file.write_text(f"[cheap]\n{HERE}[best]\n{HERE}")
    assert "no language model profile 'large'; available: best, cheap" in refused("large")
    assert "Set UNDERSTUDY_LLM_BASE_URL" in refused("")


@pytest.mark.parametrize(
    ("written", "error"),
    [
        (None, "cannot be used (FileNotFoundError)"),
        (b"[cheap]\nbase_url = \xff", "cannot be used (UnicodeDecodeError)"),
        (f'[cheap]\nmodel = "m"\napi_key = {KEY}'.encode(), "(TOMLDecodeError at line 3)"),
        (f'{HERE}api_key = "{KEY}"'.encode(), "'api_key' outside of any profile"),
        (b"[other]\nx = " + b"[" * 100_000, "cannot be used"),
        (b"", "no language model profile 'cheap'; available: none"),
    ],
    ids=["missing", "no text", "no TOML", "no tables", "too deep", "empty"],
)
def test_unusable_profiles_file_is_reported_with_its_problem(file: Path, written: bytes | None, error: str) -> None:
    if written is not None:
        file.write_bytes(written)
    assert error in refused()


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ('model = "m"', "base_url: Field required"),
        ('base_url = "ftp://host/v1"\nmodel = "m"', "base_url: "),
        ('base_url = "http://host:99999/v1"\nmodel = "m"', "base_url: must be an address like"),
        ('base_url = "http://[::1/v1"\nmodel = "m"', "base_url: must be an address like"),
        ('base_url = "http:///v1"\nmodel = "m"', "base_url: must be an address like"),
        (f"{HERE}temprature = 1", "temprature: Extra inputs are not permitted"),
        (f"{HERE}input_price = 1", "input_price and output_price go together"),
        (f"{HERE}input_price = inf\noutput_price = 1", "input_price: Input should be a finite number"),
        (f"{HERE}timeout_s = nan", "timeout_s: "),
        (f"{HERE}retries = 1.5", "retries: "),
        (f'{HERE}api_key = "{KEY}\\n{KEY}"', "api_key: a key is one line of plain text"),
        (f'{HERE}api_key = "{KEY}ü"', "api_key: a key is one line of plain text"),
        (f'{HERE}api_key = "{KEY}"\napi_key_file = "x"', "api_key and api_key_file exclude each other"),
        (f'{HERE}api_key_file = "/nowhere/at/all"', "cannot be read (No such file or directory)"),
        (f'{HERE}api_key_file = "/"', "cannot be read (Is a directory)"),
    ],
)
def test_invalid_setting_is_named(file: Path, terms: str, error: str) -> None:
    file.write_text(f"[cheap]\n{terms}\n")
    assert error in refused()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", f"{KEY}\n{KEY}".encode(), b"x" * 5_000])
def test_file_without_a_valid_key_is_reported(file: Path, content: bytes) -> None:
    (file.parent / "key").write_bytes(content)
    file.write_text(f'[cheap]\n{HERE}api_key_file = "{file.parent / "key"}"\n')
    assert "The file with the key of http://127.0.0.1:11434/v1 contains no valid key" in refused()


def test_invalid_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_LLM_STUDY_CALLS", "many")
    forget()
    assert "UNDERSTUDY_LLM_STUDY_CALLS: Input should be a valid integer" in refused("")
    monkeypatch.setenv("UNDERSTUDY_LLM_STUDY_CALLS", "3")
    monkeypatch.setenv("UNDERSTUDY_LLM_MODEL", "m")
    forget()
    assert "UNDERSTUDY_LLM_BASE_URL: Field required" in refused("")
    forget()


ACME = Workspace(UUID(int=1), "acme")
UP = Workspace(UUID(int=2), "default")


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("", {UP}),
        ('workspaces = ["*"]', {UP, ACME}),
        ('workspaces = ["acme"]', {ACME}),
        (f'workspaces = ["{ACME.id}"]', {ACME}),
        ("workspaces = []", set()),
    ],
)
def test_profile_is_for_its_workspaces(file: Path, line: str, allowed: set[Workspace]) -> None:
    file.write_text(f"[cheap]\n{HERE}{line}\n")
    for workspace in (UP, ACME):
        if workspace in allowed:
            assert profile_for(workspace, "cheap").model == "m"
        else:
            with pytest.raises(ModelFailed, match="workspaces of the profile"):
                profile_for(workspace, "cheap")


@pytest.mark.parametrize(("value", "allowed"), [("", False), ("other, acme", True), ("*", True)])
def test_variable_names_the_workspaces_of_the_default_profile(
    file: Path, monkeypatch: pytest.MonkeyPatch, value: str, allowed: bool
) -> None:
    file.write_text("")
    monkeypatch.setenv("UNDERSTUDY_LLM_BASE_URL", "http://10.9.8.7/v1")
    monkeypatch.setenv("UNDERSTUDY_LLM_MODEL", "m")
    monkeypatch.setenv("UNDERSTUDY_LLM_WORKSPACES", value)
    if allowed:
        assert profile_for(ACME, "").model == "m"
    else:
        with pytest.raises(ModelFailed, match="UNDERSTUDY_LLM_WORKSPACES"):
            profile_for(ACME, "")


@pytest.mark.parametrize("value", ['"*"', "[1]", '[""]'])
def test_wrong_list_of_workspaces_is_reported(file: Path, value: str) -> None:
    file.write_text(f"[cheap]\n{HERE}workspaces = {value}\n")
    assert "workspaces" in refused()


def test_callers_are_told_the_same_of_every_profile_that_they_cannot_use(file: Path) -> None:
    async def told(name: str) -> str:
        with pytest.raises(ModelFailed) as failure:
            endpoint_of(name, ACME)
        return failure.value.told.replace(name, "NAME")

    file.write_text(
        f'[others]\n{HERE}[broken]\nmodel = "m"\nbase_url = "http://10.9.8.7:99999/"\nworkspaces = ["acme"]\n'
        f'[keyless]\n{HERE}api_key_file = "/nowhere"\nworkspaces = ["acme"]\n'
    )
    answers = {asyncio.run(told(name)) for name in ("nobody", "others", "broken", "keyless", "default")}
    assert answers == {
        "The language model profile 'NAME' is not available to this workspace. Ask the operator: the log of the worker "
        "says why."
    }
