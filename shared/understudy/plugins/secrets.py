"""Secrets that only workers hold: named values, each with the origins it may be sent to."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from understudy.domain.chat import SECRET_NAME

_PORTS = {"http": 80, "https": 443}
_VALUE = re.compile(r"[!-~](?:[ -~]{0,4094}[!-~])?")
#: Parts of a value are redacted from this length; shorter ones occur in normal text.
_MIN_REDACTED_CHARS = 8


class SecretNotAllowed(Exception):
    """The secret is unknown, or not allowed at this origin. The message never contains a value."""


class InvalidSecretsFile(ValueError):
    """The secrets file is invalid. The message never contains a value."""


class _Secret(NamedTuple):
    value: str
    origins: frozenset[str]


class Secrets:
    """Holds the secrets of this process. Its repr shows only names."""

    def __init__(self, secrets: Mapping[str, _Secret] | None = None) -> None:
        self._secrets = dict(secrets or {})

    @classmethod
    def load(cls, file: str) -> Self:
        """Loads a file like `{"NAME": {"value": "Bearer …", "origins": ["https://bot.example"]}}`.

        Returns no secrets if `file` is empty. Raises InvalidSecretsFile.
        """
        if not file:
            return cls()
        try:
            content = json.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidSecretsFile(f"secrets_file {file} cannot be read: {error.strerror}") from error
        except ValueError:
            # The message of json would show a part of the file.
            raise InvalidSecretsFile(f"secrets_file {file} is not JSON") from None
        if not isinstance(content, dict):
            raise InvalidSecretsFile(f"secrets_file {file} must be a JSON object of secrets by name")
        return cls({name: _read(name, fields) for name, fields in content.items()})

    def value(self, name: str, url: str) -> str:
        """Returns the secret to send to `url`. Raises SecretNotAllowed."""
        secret = self._secrets.get(name)
        if secret is None:
            raise SecretNotAllowed(f"no secret {name!r} in this worker's UNDERSTUDY_SECRETS_FILE; add it there")
        origin = origin_of(url)
        if origin not in secret.origins:
            raise SecretNotAllowed(f"the secret {name!r} must not be sent to {origin}; add it to its origins")
        return secret.value

    def redacted(self, text: str) -> str:
        """Returns `text` with all values replaced, because a chatbot may echo one."""
        for secret in self._secrets.values():
            for part in sorted({secret.value, *secret.value.split()}, key=len, reverse=True):
                if len(part) >= _MIN_REDACTED_CHARS or part == secret.value:
                    text = text.replace(part, "[secret]")
        return text

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._secrets))})"


def origin_of(url: str) -> str:
    """Returns scheme, host and port of a URL in one normal form; empty if it lacks one."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and port else ""


def _read(name: str, fields: Any) -> _Secret:
    if not SECRET_NAME.fullmatch(name):
        raise InvalidSecretsFile(f"secret {name[:80]!r}: a name has letters, digits, - and _, a letter first")
    if not isinstance(fields, dict) or set(fields) != {"value", "origins"}:
        raise InvalidSecretsFile(f"secret {name}: give exactly value and origins")
    value, origins = fields["value"], fields["origins"]
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise InvalidSecretsFile(f"secret {name}: value must have 1 to 4,096 printable ASCII characters")
    if not isinstance(origins, list) or not origins:
        raise InvalidSecretsFile(f'secret {name}: origins must be a list like ["https://bot.example"]')
    allowed = frozenset(origin_of(origin) if isinstance(origin, str) else "" for origin in origins)
    if not all(origin.startswith(("http:", "https:")) for origin in allowed):
        raise InvalidSecretsFile(f"secret {name}: an origin must look like https://bot.example")
    return _Secret(value, allowed)
