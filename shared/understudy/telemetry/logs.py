"""Configures logging: JSON lines, or readable lines on a terminal; secrets are redacted in both.

All code uses the standard `logging`. Each line carries the fields set by `bind` and `log_context`.
"""

import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import structlog
from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from structlog.processors import ExceptionRenderer, TimeStamper
from structlog.typing import EventDict, WrappedLogger

from understudy.domain.broker_address import parse_broker_url
from understudy.domain.unprintable import escape_text
from understudy.settings import Settings
from understudy.telemetry.json_lines import JsonFormatter
from understudy.telemetry.log_fields import bind, current_fields, log_context
from understudy.telemetry.log_writer import LogWriter

__all__ = ["bind", "configure", "formatter", "log_context", "propagated_headers", "secret_values"]

log = logging.getLogger(__name__)

#: Loggers that follow `log_level`; all others log warnings and worse.
APP_LOGGERS = ("understudy", "uvicorn")
REDACTED = "***"
#: Log field and message header with the id of the request.
REQUEST_ID = "request_id"

#: Names of secret values.
_WORDS = r"authorization|api[-_]?key|access[-_]?key|password|passwd|secret|token|cookie|credentials?"
_NAME = re.compile(rf"(?i)(?:^|[-_])(?:{_WORDS})s?$")
_PATTERNS = (
    # `user:password@` in a URL.
    (re.compile(r"(://[^\s/:@'\"]*:)[^\s/?#'\"]+(@)"), rf"\1{REDACTED}\2"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{6,}"), rf"\1\2{REDACTED}"),
    (
        re.compile(
            rf"(?i)\b((?:\w+[-_])?(?:{_WORDS})[\"']?\s*[=:]\s*)"
            r"(?!bearer|basic)(?:\"[^\"]*\"|'[^']*'|[^\s\"',;&)]+)"
        ),
        rf"\1{REDACTED}",
    ),
    # Our tokens, and API keys of language model providers.
    (re.compile(r"\b(us_|sk-)[\w-]{8,}"), rf"\1{REDACTED}"),
)
#: Each match of these patterns, and each name of a secret, contains one of these.
_HINTS = (
    *("://", "bearer", "basic", "us_", "sk-"),
    *("authorization", "key", "passw", "secret", "token", "cookie", "credential"),
)


def propagated_headers() -> dict[str, str]:
    """Returns the message headers that carry the request id; empty outside a request."""
    name = current_fields().get(REQUEST_ID)
    return {} if name is None else {REQUEST_ID: name}


def configure(settings: Settings, **fields: str) -> None:
    """Writes all log records of this process to stderr in the format `log_format`.

    Each JSON line carries `fields`, such as component and name. A later call replaces the earlier one.
    """
    handler = LogWriter(sys.stderr)
    handler.setFormatter(formatter(settings, on_terminal=sys.stderr.isatty(), fields=fields))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # No line shows them, and to find them out takes a third of the time of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    for name in APP_LOGGERS:
        logging.getLogger(name).setLevel(settings.log_level)
    # Uncaught exceptions become log lines too: the interpreter would print them unredacted.
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread_exception
    sys.unraisablehook = _log_unraisable


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("uncaught exception; exiting", exc_info=(kind, error, trace))


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "?"
    error = args.exc_value or args.exc_type()
    log.error("uncaught exception in thread %s", name, exc_info=(args.exc_type, error, args.exc_traceback))


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value or args.exc_type()
    log.error("%s", args.err_msg or "ignored", exc_info=(args.exc_type, error, args.exc_traceback))


def formatter(settings: Settings, *, on_terminal: bool, fields: dict[str, str]) -> logging.Formatter:
    """Returns the formatter that redacts secrets and writes each record as one line."""
    redact = SecretRedactor(secret_values(settings))
    if settings.log_format != "text" and not (settings.log_format == "auto" and on_terminal):
        return JsonFormatter(fields, redact)
    plain = structlog.dev.plain_traceback
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            lambda _, __, line: {**current_fields(), **line},
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            TimeStamper(fmt="iso", utc=True),
            ExceptionRenderer(),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _drop_colors,
            lambda _, __, line: redact(line),
            _escape,
            structlog.dev.ConsoleRenderer(colors=on_terminal, exception_formatter=plain, pad_event_to=0),
        ],
    )


def _escape(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    # People read these lines on a terminal, also those of a file. A traceback has lines of its own.
    return {
        name: escape_text(value if name == "exception" else value.replace("\n", "\\n"))
        if isinstance(value, str)
        else value
        for name, value in line.items()
    }


def _drop_colors(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    # Uvicorn repeats its message in this field, with terminal colors.
    line.pop("color_message", None)
    return line


class SecretRedactor:
    """Replaces known secrets, and text that looks like a secret, with stars."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: one secret may contain another.
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the fields of a line without secrets."""
        return {name: REDACTED if _is_secret_name(name, value) else self.redact(value) for name, value in line.items()}

    def redact(self, value: Any) -> Any:
        """Returns `value` without secrets: None, booleans and numbers unchanged, others as text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        text = value if isinstance(value, str) else repr(value)
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def may_contain_secret(self, line: str) -> bool:
        """Returns False if no field of a JSON line needs to be redacted, in a tenth of the time of looking at each."""
        # A backslash may stand for any character. The patterns ignore case as `casefold` does.
        return (
            "\\" in line
            or any(map(line.casefold().__contains__, _HINTS))
            or (self._known is not None and self._known.search(line) is not None)
        )


def _is_secret_name(name: str, value: object) -> bool:
    # A number such as a token count is not a secret.
    return _NAME.search(name) is not None and not isinstance(value, int | float | None)


def secret_values(settings: Settings) -> set[str]:
    """Returns the secrets in `settings`: passwords in URLs, tokens, keys."""
    found = set()
    for name, value in settings:
        if isinstance(value, SecretStr):
            found.add(value.get_secret_value())
        elif isinstance(value, str) and _NAME.search(name):
            found.add(value)
        elif name in {"broker_url", "notices_url"} and value:
            found |= parse_broker_url(value).secrets
        elif isinstance(value, str) and "://" in value:
            found |= _password(value)
    # Replacing shorter ones would garble every line.
    return {secret for secret in found if len(secret) >= 4}


def _password(url: str) -> set[str]:
    try:
        password = make_url(url).password
    except (ArgumentError, ValueError):
        return set()
    # Decoded, and as written in the URL.
    return {str(password), *re.findall(r"://[^/:@]*:([^@]*)@", url)} if password else set()
