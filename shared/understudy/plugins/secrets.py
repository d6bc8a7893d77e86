"""Secrets that only workers hold: named values, each with the workspaces and the place that may get it."""

import json
import logging
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, Self

from understudy.domain.chat import SECRET_NAME
from understudy.plugins.allowed_workspaces import AllowedWorkspaces, Workspace, read_list
from understudy.plugins.redaction import MIN_LETTERS, Redactor, letters_of
from understudy.plugins.secret_target import Target, is_plain, target_of

log = logging.getLogger(__name__)

_VALUE = re.compile(r"[!-~](?:[ -~]{0,4094}[!-~])?")
_HEADER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FIELDS = {"value", "workspaces", "header", "origins", "path_prefix"}
#: Fields that an entry of an older file lacks, with an example.
_ADDED = {
    "workspaces": '"workspaces": ["default"]',
    "header": '"header": "Authorization"',
    "path_prefix": '"path_prefix": "/v1"',
}
#: Headers by which a client can make a server or proxy answer for another path, host or method.
_REROUTING = re.compile(
    r"forwarded|x-forwarded-.*|x-original-.*|x-rewrite-.*|x-http-method.*|x-method-override|x-host|x-envoy-.*|x-accel-.*",
    re.IGNORECASE,
)


class SecretNotAllowed(Exception):
    """This run may not send this secret so. All refusals have one text, which contains no name and no value."""

    def __init__(self) -> None:
        super().__init__("a secret of its headers is not available here")


class InvalidSecretsFile(ValueError):
    """The secrets file is invalid. The message never contains a value."""


class _Secret(NamedTuple):
    value: str
    workspaces: AllowedWorkspaces
    header: str
    origins: frozenset[str]
    path_prefix: str

    def refusal(self, workspace: Workspace, header: str, target: Target | None) -> str:
        """Returns why this secret must not be sent, for the operator; empty if it may be sent."""
        if not self.workspaces.allow(workspace):
            return "its workspaces do not include this one"
        if header.lower() != self.header:
            return "it is for another header"
        if target is None:
            return "the address has a user, escapes, dots or empty segments, or is neither http nor https"
        if target.origin not in self.origins:
            return "it is for other origins"
        return "" if target.is_below(self.path_prefix) else "it is for another path"


class Secrets:
    """Holds the secrets of this process, and reads their file again when it changes. Its repr shows only names."""

    def __init__(self, file: str = "") -> None:
        self._file = file
        self._stamp = _stamp(file)
        self._secrets = _load(file)

    @classmethod
    def load(cls, file: str) -> Self:
        """Loads a file of secrets by name; see `docs/guides/chatbots.md`.

        Returns no secrets if `file` is empty. Raises InvalidSecretsFile, also if others than its owner may read it.
        """
        return cls(file)

    def find(self, name: str) -> _Secret | None:
        """Returns the entry of this name as the file has it now; None if there is none, or if the file is invalid."""
        stamp = _stamp(self._file)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._secrets = _load(self._file)
            except InvalidSecretsFile as error:
                # An operator may have taken a secret back: the earlier content no longer counts.
                self._secrets = {}
                log.error("no secret is sent until the secrets file is valid: %s", error)  # noqa: TRY400 - no stack
        return self._secrets.get(name)

    def for_run(self, workspace: Workspace) -> "RunSecrets":
        """Returns the secrets as a run of `workspace` may use them."""
        return RunSecrets(self, workspace)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._secrets))})"


class RunSecrets:
    """The secrets that one run may send, and those that it has sent. Only the latter are redacted.

    So a bot learns from a redaction nothing about a secret that it did not get.
    """

    def __init__(self, secrets: Secrets | None = None, workspace: Workspace | None = None) -> None:
        self._secrets = secrets or Secrets()
        self._workspace = workspace or Workspace()
        self._sent: frozenset[str] = frozenset()
        self._redactor = Redactor(())

    @property
    def were_sent(self) -> bool:
        """Whether the bot got a secret."""
        return bool(self._sent)

    def headers(self, names: Mapping[str, str], others: Mapping[str, str], url: str) -> dict[str, str]:
        """Returns the headers with the secrets `names` (header -> secret) for a request to `url` with `others`.

        Raises SecretNotAllowed; the log tells the operator why.
        """
        return {header: self._value(name, header, others, url) for header, name in names.items()}

    def record(self, headers: Mapping[str, str]) -> None:
        """Records that these headers with secrets are about to be sent: from now on their values are redacted."""
        if sent := frozenset(headers.values()) - self._sent:
            self._sent |= sent
            self._redactor = Redactor(self._sent)

    def redacted(self, text: str) -> str:
        """Returns `text` without the secrets that were sent. Call it before the text is cut."""
        return self._redactor.redact(text)

    def _value(self, name: str, header: str, others: Mapping[str, str], url: str) -> str:
        secret = self._secrets.find(name)
        reason = "there is none of this name" if secret is None else ""
        if secret is not None:
            reason = secret.refusal(self._workspace, header, target_of(url))
        if any(_REROUTING.fullmatch(other.replace("_", "-")) for other in others):
            reason = reason or "another header of the request can change its path or host"
        if secret is None or reason:
            log.warning("secret %s was not sent for workspace %s: %s", name, self._workspace.id, reason)
            raise SecretNotAllowed
        return secret.value


def _stamp(file: str) -> tuple[int, ...]:
    """Returns what changes with the content or mode of `file`; empty if there is no file."""
    try:
        found = os.stat(file) if file else None  # noqa: PTH116 - an empty path is not the current folder
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if found else ()


def _load(file: str) -> dict[str, _Secret]:
    if not file:
        return {}
    try:
        with Path(file).open(encoding="utf-8") as stream:
            # The mode of the open file: a file of that name could be replaced in between.
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = None if mode & 0o077 else json.load(stream)
    except OSError as error:
        raise InvalidSecretsFile(f"secrets_file {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        # The message of json would show a part of the file.
        raise InvalidSecretsFile(f"secrets_file {file} is not JSON") from None
    if mode & 0o077:
        raise InvalidSecretsFile(
            f"secrets_file {file} is open to other users (mode {mode:04o}): chmod 600 {quote(file)}"
        )
    if not isinstance(content, dict):
        raise InvalidSecretsFile(f"secrets_file {file} must be a JSON object of secrets by name")
    return {name: _read(name, fields) for name, fields in content.items()}


def _read(name: str, fields: Any) -> _Secret:
    if not SECRET_NAME.fullmatch(name):
        raise InvalidSecretsFile(f"secret {name[:80]!r}: a name has letters, digits, - and _, a letter first")
    if not isinstance(fields, dict):
        raise InvalidSecretsFile(f"secret {name}: must be an object with {', '.join(sorted(_FIELDS))}")
    # Without workspaces an entry is for none; without the others nobody can tell where it may go.
    if {"header", "path_prefix"} - set(fields):
        missing = [example for field, example in _ADDED.items() if field not in fields]
        raise InvalidSecretsFile(
            f"secret {name}: add {', '.join(missing)} (names or ids of the workspaces that may use it, or "
            '"*" for all; its header; the path below which it may be sent)'
        )
    if missing := sorted(_FIELDS - {"workspaces"} - set(fields)):
        raise InvalidSecretsFile(f"secret {name}: add {', '.join(missing)}")
    if unknown := sorted(set(fields) - _FIELDS):
        raise InvalidSecretsFile(f"secret {name}: has {', '.join(sorted(_FIELDS))}, not {unknown[0][:80]!r}")
    value, header, prefix = fields["value"], fields["header"], fields["path_prefix"]
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise InvalidSecretsFile(f"secret {name}: value must have 1 to 4,096 printable ASCII characters")
    if letters_of(value) < MIN_LETTERS:
        # It could be guessed, and redaction could not tell it from normal text.
        raise InvalidSecretsFile(f"secret {name}: value must have a word with at least {MIN_LETTERS} letters or digits")
    if not isinstance(header, str) or not _HEADER.fullmatch(header):
        raise InvalidSecretsFile(f"secret {name}: header must be the name of a header, such as Authorization")
    if not isinstance(prefix, str) or not is_plain(prefix):
        raise InvalidSecretsFile(f"secret {name}: path_prefix must be a plain path such as /v1 (/ allows all)")
    try:
        workspaces = read_list(fields.get("workspaces", []))
    except ValueError:
        raise InvalidSecretsFile(
            f'secret {name}: workspaces must be a list of names or ids such as ["default"], or ["*"] for all'
        ) from None
    return _Secret(value, workspaces, header.lower(), _origins(name, fields["origins"]), prefix)


def _origins(name: str, origins: Any) -> frozenset[str]:
    if not isinstance(origins, list) or not origins:
        raise InvalidSecretsFile(f'secret {name}: origins must be a list like ["https://bot.example"]')
    targets = [target_of(origin) if isinstance(origin, str) else None for origin in origins]
    if not all(target is not None and target.path == "/" for target in targets):
        raise InvalidSecretsFile(f"secret {name}: an origin must look like https://bot.example")
    return frozenset(target.origin for target in targets if target is not None)
