"""Secrets: what workers know and nobody else, by name, each for the places it may be sent to."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from understudy.domain.chat import SECRET_NAME

_PORTS = {"http": 80, "https": 443}
_VALUE = re.compile(r"[!-~](?:[ -~]{0,4094}[!-~])?")
#: Parts of a value this long are no words that anybody says by chance.
_MIN_REDACTED_CHARS = 8


class SecretNotAllowed(Exception):
    """There is no such secret here, or it must not go there. Never tells a value."""


class InvalidSecretsFile(ValueError):
    """The file cannot be used. Never tells a value."""


class _Secret(NamedTuple):
    value: str
    origins: frozenset[str]


class Secrets:
    """All that this process knows. Its repr shows names only."""

    def __init__(self, known: Mapping[str, _Secret] | None = None) -> None:
        self._known = dict(known or {})

    @classmethod
    def load(cls, file: str) -> Self:
        """Those of a file `{"NAME": {"value": "Bearer …", "origins": ["https://bot.example"]}}`.

        None for an empty name. Raises BadSecrets for a file that is not one.
        """
        if not file:
            return cls()
        try:
            content = json.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidSecretsFile(f"secrets_file {file} cannot be read: {error.strerror}") from error
        except ValueError:
            # What json says of it would show a part of it.
            raise InvalidSecretsFile(f"secrets_file {file} is not JSON") from None
        if not isinstance(content, dict):
            raise InvalidSecretsFile(f"secrets_file {file} must be an object of secrets by name")
        return cls({name: _read(name, fields) for name, fields in content.items()})

    def value(self, name: str, url: str) -> str:
        """The secret, to be sent to `url`. Raises SecretRefused."""
        secret = self._known.get(name)
        if secret is None:
            raise SecretNotAllowed(f"no secret {name!r} is known to this worker (UNDERSTUDY_SECRETS_FILE)")
        origin = origin_of(url)
        if origin not in secret.origins:
            raise SecretNotAllowed(f"the secret {name!r} must not be sent to {origin}")
        return secret.value

    def redacted(self, text: str) -> str:
        """`text` without the values, should somebody have sent one back."""
        for secret in self._known.values():
            for part in sorted({secret.value, *secret.value.split()}, key=len, reverse=True):
                if len(part) >= _MIN_REDACTED_CHARS or part == secret.value:
                    text = text.replace(part, "[secret]")
        return text

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._known))})"


def origin_of(url: str) -> str:
    """Scheme, host and port of a web address, always written the same way; empty if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and port else ""


def _read(name: str, fields: Any) -> _Secret:
    if not SECRET_NAME.fullmatch(name):
        raise InvalidSecretsFile(f"secret {name[:80]!r}: a name is letters, digits, - and _, a letter first")
    if not isinstance(fields, dict) or set(fields) != {"value", "origins"}:
        raise InvalidSecretsFile(f"secret {name}: it has value and origins, and nothing else")
    value, origins = fields["value"], fields["origins"]
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise InvalidSecretsFile(f"secret {name}: value must be plain text (ASCII) of 1 to 4,096 characters")
    if not isinstance(origins, list) or not origins:
        raise InvalidSecretsFile(
            f'secret {name}: origins must list where it may go, like ["https://bot.example"]'
        )
    known = frozenset(origin_of(origin) if isinstance(origin, str) else "" for origin in origins)
    if not all(origin.startswith(("http:", "https:")) for origin in known):
        raise InvalidSecretsFile(f"secret {name}: an origin is like https://bot.example")
    return _Secret(value, known)
