"""Profiles: the models that this process may call, and their limits, from `UNDERSTUDY_LLM_…` variables.

A study names only a profile; the operator sets addresses, keys and prices. The API reads none of this.
"""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from understudy.models import ModelFailed
from understudy.plugins.allowed_workspaces import AllowedWorkspaces, Workspace

DEFAULT = "default"
#: Sent if no key is configured: local servers need none, but the protocol requires a value.
NO_KEY = "none"

#: Characters that an HTTP header can carry.
_KEY = re.compile(r"[!-~](?:[ -~]{0,4094}[!-~])?")
_TOML_LINE = re.compile(r"at line \d+")


class Profile(BaseModel):
    """Configures one model behind one endpoint. Durations are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: Address of an OpenAI-compatible API, including `/v1`.
    base_url: str = Field(min_length=1, pattern=r"^https?://[^\s]+$")
    model: str = Field(min_length=1, max_length=200)
    #: The key, or a file that contains only the key. Set neither if the server needs no key.
    api_key: SecretStr | None = None
    api_key_file: Path | None = None

    #: Maximum wait for one answer; the step timeout may end the wait earlier.
    timeout_s: float = Field(120, gt=0)
    #: Retries of one decision after 429, 5xx or a connection failure.
    retries: int = Field(4, ge=0, le=20)
    #: Maximum estimated tokens of one prompt; older turns are summarised to fit.
    context_tokens: int = Field(12_000, ge=1_000)
    #: Maximum tokens of one answer, thinking included.
    max_output_tokens: int = Field(2_000, ge=50)
    #: Not sent unless set: some models reject it.
    temperature: float | None = Field(None, ge=0, le=2)
    #: Stream the answer: for gateways that close idle connections.
    stream: bool = False
    #: Price per million tokens in any one currency. Set both or neither.
    input_price: float | None = Field(None, ge=0)
    output_price: float | None = Field(None, ge=0)
    #: Names or ids of the workspaces that may use the model; `*`: all. Unless set, only the workspace of `up`.
    workspaces: tuple[str, ...] = ("default",)

    @field_validator("base_url")
    @classmethod
    def _validate_url(cls, value: str) -> str:
        try:
            # Both parsers must accept it: each rejects addresses that the other accepts.
            is_valid = httpx.URL(value).host and urlsplit(value).port != 0
        except (httpx.InvalidURL, ValueError):
            is_valid = False
        if not is_valid:
            raise ValueError("must be an address like http://127.0.0.1:11434/v1")
        return value

    @field_validator("api_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _can_be_sent(value.get_secret_value()):
            raise ValueError(_KEY_FORMAT)
        return value

    @field_validator("workspaces")
    @classmethod
    def _are_workspaces(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            AllowedWorkspaces(value)
        except ValueError:
            raise ValueError('must be names or ids of workspaces, such as "default", or "*" for all') from None
        return value

    @model_validator(mode="after")
    def _validate_combination(self) -> Self:
        if (self.input_price is None) != (self.output_price is None):
            raise ValueError("input_price and output_price go together; set both or neither")
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("api_key and api_key_file exclude each other; set one of them")
        return self

    @property
    def display_url(self) -> str:
        """The address without user name, password and query, for messages."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def key(self) -> str:
        """Returns the API key. Raises ModelFailed if its file cannot be read or contains no valid key."""
        if self.api_key_file is not None:
            try:
                key = self.api_key_file.read_text(encoding="utf-8", errors="replace").strip()
            except OSError as error:
                raise ModelFailed(
                    f"The file with the key of {self.display_url} cannot be read ({error.strerror}); "
                    "api_key_file must name a file that the worker may read."
                ) from None
            if not _can_be_sent(key):
                raise ModelFailed(f"The file with the key of {self.display_url} contains no valid key; {_KEY_FORMAT}.")
            return key or NO_KEY
        return (self.api_key.get_secret_value() if self.api_key else "") or NO_KEY

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """Returns the cost of these tokens; None without prices."""
        if self.input_price is None or self.output_price is None:
            return None
        return (input_tokens * self.input_price + output_tokens * self.output_price) / 1_000_000


_KEY_FORMAT = "a key is one line of plain text (ASCII), at most 4,096 characters"


def _can_be_sent(key: str) -> bool:
    return not key.strip() or _KEY.fullmatch(key) is not None


class ModelSettings(BaseSettings):
    """Reads the settings of minds that call a model: `UNDERSTUDY_LLM_` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="UNDERSTUDY_LLM_", extra="forbid", frozen=True)

    #: These fields define the profile `default`.
    base_url: str = ""
    model: str = ""
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    timeout_s: float | None = None
    retries: int | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    stream: bool | None = None
    input_price: float | None = None
    output_price: float | None = None
    #: Names or ids, separated by commas.
    workspaces: str = ""
    #: A TOML file with more profiles, one table each: [cheap] base_url = "…" model = "…".
    profiles_file: Path | None = None

    #: Quotas shared by all workers; 0: unlimited. Total tokens of one study (or ask), tokens of one workspace
    #: per day (UTC), and concurrent calls.
    study_tokens: int = Field(0, ge=0)
    workspace_tokens_per_day: int = Field(0, ge=0)
    study_calls: int = Field(0, ge=0)
    workspace_calls: int = Field(0, ge=0)


@cache
def model_settings() -> ModelSettings:
    """Returns the settings of this process. Raises ModelFailed if they are invalid."""
    try:
        return ModelSettings()
    except ValidationError as error:
        problems = _problems(error, "UNDERSTUDY_LLM_")
        told = "The language model settings are invalid. Ask the operator: the log of the worker says why."
        raise ModelFailed(f"The language model settings are invalid: {problems}.", told=told) from None


def profile_for(workspace: Workspace, name: str) -> Profile:
    """Returns the profile that a run of `workspace` uses; an empty name means `default`.

    Raises ModelFailed. Callers are told the same if the profile is unknown, invalid or for other workspaces.
    """
    name = name or DEFAULT
    try:
        profile = find_profile(name)
    except ModelFailed as failure:
        raise ModelFailed(str(failure), told=not_available(name)) from None
    if not AllowedWorkspaces(profile.workspaces).allow(workspace):
        variable = "UNDERSTUDY_LLM_WORKSPACES, or to " if name == DEFAULT else ""
        raise ModelFailed(
            f"The language model profile {name!r} is not for workspace {workspace.name!r} ({workspace.id}). Add it to "
            f"{variable}the workspaces of the profile.",
            told=not_available(name),
        )
    return profile


def not_available(name: str) -> str:
    """Returns what callers are told about a profile that they cannot use."""
    return (
        f"The language model profile {name!r:.80} is not available to this workspace. Ask the operator: the log of the "
        "worker says why."
    )


@cache
def find_profile(name: str) -> Profile:
    """Returns a profile; an empty name means `default`. Raises ModelFailed if it is unknown or invalid."""
    settings = model_settings()
    tables = _tables(settings)
    name = name or DEFAULT
    if name not in tables:
        if name == DEFAULT:
            raise ModelFailed(
                "No language model is configured. Set UNDERSTUDY_LLM_BASE_URL, such as "
                "http://127.0.0.1:11434/v1, and UNDERSTUDY_LLM_MODEL for the workers."
            )
        raise ModelFailed(
            f"The workers have no language model profile {name!r}; "
            f"available: {', '.join(sorted(tables)) or 'none'}. Add it to the file that "
            "UNDERSTUDY_LLM_PROFILES_FILE names."
        )
    try:
        return Profile.model_validate(tables[name])
    except ValidationError as error:
        prefix = "UNDERSTUDY_LLM_" if name == DEFAULT else ""
        raise ModelFailed(f"The language model profile {name!r} is invalid: {_problems(error, prefix)}.") from None


def _tables(settings: ModelSettings) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    if settings.profiles_file is not None:
        try:
            tables = tomllib.loads(settings.profiles_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            # The file holds keys, and the error text might quote one: report only its kind and line.
            line = _TOML_LINE.search(str(error)) if isinstance(error, tomllib.TOMLDecodeError) else None
            raise ModelFailed(
                f"The file of language model profiles cannot be used ({type(error).__name__}"
                f"{f' {line[0]}' if line else ''}): UNDERSTUDY_LLM_PROFILES_FILE must name a TOML file that "
                "the worker may read."
            ) from None
        if orphans := sorted(name for name, table in tables.items() if not isinstance(table, dict)):
            raise ModelFailed(
                f"The file of language model profiles has {orphans[0][:80]!r} outside of any profile. "
                "Put it into the table of a profile, such as [cheap]."
            )
    default = {name: getattr(settings, name) for name in Profile.model_fields}
    default = {name: value for name, value in default.items() if value not in (None, "")}
    if settings.workspaces:
        default["workspaces"] = [name.strip() for name in settings.workspaces.split(",")]
    return tables | ({DEFAULT: default} if default else {})


def _problems(error: ValidationError, prefix: str) -> str:
    """Returns each invalid field with its problem; never its value, which may be a key."""
    problems = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        where = ".".join(map(str, problem["loc"]))
        what = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{prefix}{where.upper() if prefix else where}: {what}" if where else what)
    return "; ".join(problems)
