"""Logs: lines of JSON for machines, readable lines on a terminal, and never a secret in either.

All code logs by the standard library. Each line carries the fields that `bind` or `log_context` set.
"""

import logging
import re
import sys
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import structlog
from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars, merge_contextvars
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper
from structlog.typing import EventDict, Processor, WrappedLogger

from understudy.domain.broker_address import parse_broker_url
from understudy.settings import Settings

log = logging.getLogger(__name__)

#: Whose lines are shown from `log_level` on; of everybody else warnings and worse.
APP_LOGGERS = ("understudy", "uvicorn")
REDACTED = "***"
#: Goes with a request, and with the messages that are sent for it.
REQUEST_ID = "request_id"

#: Words that say that what follows, or what is kept under them, is nobody's business.
_WORDS = r"authorization|api[-_]?key|access[-_]?key|password|passwd|secret|token|cookie|credentials?"
_NAME = re.compile(rf"(?i)(?:^|[-_])(?:{_WORDS})s?$")
_PATTERNS = (
    # user:password@ of a URL
    (re.compile(r"(://[^\s/:@'\"]*:)[^\s/?#'\"]+(@)"), rf"\1{REDACTED}\2"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{6,}"), rf"\1\2{REDACTED}"),
    (
        re.compile(
            rf"(?i)\b((?:\w+[-_])?(?:{_WORDS})[\"']?\s*[=:]\s*)"
            r"(?!bearer|basic)(?:\"[^\"]*\"|'[^']*'|[^\s\"',;&)]+)"
        ),
        rf"\1{REDACTED}",
    ),
    # Our own tokens, and keys as makers of language models give them out.
    (re.compile(r"\b(us_|sk-)[\w-]{8,}"), rf"\1{REDACTED}"),
)


def log_context(**what: object) -> AbstractContextManager[Any]:
    """Lines of this block name these: participant, task …"""
    return bound_contextvars(**{name: str(value) for name, value in what.items()})


def bind(**what: object) -> None:
    """Lines of this task or request name these from now on. What is None is not known."""
    bind_contextvars(**{name: str(value) for name, value in what.items() if value is not None})


def propagated_headers() -> dict[str, str]:
    """What a message says of the request that it is sent for, in its headers."""
    name = get_contextvars().get(REQUEST_ID)
    return {} if name is None else {REQUEST_ID: name}


def configure(settings: Settings, **what: str) -> None:
    """Have everything that this process logs written to stderr, in the form that `log_format` says.

    `what` goes with each line: which part it is, and its name. May be repeated; the last one counts.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings, on_terminal=sys.stderr.isatty(), what=what))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in APP_LOGGERS:
        logging.getLogger(name).setLevel(settings.log_level)
    # What nobody catches is a line like any other: the interpreter would write it out as it is.
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread_exception
    sys.unraisablehook = _log_unraisable


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("uncaught exception; exiting", exc_info=(kind, error, trace))


def _log_thread_exception(end: threading.ExceptHookArgs) -> None:
    name = end.thread.name if end.thread is not None else "?"
    error = end.exc_value or end.exc_type()
    log.error("the thread %s ended by an error", name, exc_info=(end.exc_type, error, end.exc_traceback))


def _log_unraisable(told: "sys.UnraisableHookArgs") -> None:
    error = told.exc_value or told.exc_type()
    log.error("%s", told.err_msg or "ignored", exc_info=(told.exc_type, error, told.exc_traceback))


def formatter(settings: Settings, *, on_terminal: bool, what: dict[str, str]) -> logging.Formatter:
    """What makes a line of a record."""
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and on_terminal)
    before: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        TimeStamper(fmt="iso", utc=True),
        ExceptionRenderer(),
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _drop_colors,
            SecretRedactor(secret_values(settings)),
            *(_text(colors=on_terminal) if as_text else _json(what)),
        ],
    )


def _text(*, colors: bool) -> list[Processor]:
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, pad_event_to=0)]


def _drop_colors(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    # Uvicorn's message once more, for terminals.
    line.pop("color_message", None)
    return line


def _json(what: dict[str, str]) -> list[Processor]:
    def order(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        first = {"timestamp": line.pop("timestamp"), "level": line.pop("level"), **what}
        return {**first, "logger": line.pop("logger"), "message": line.pop("event"), **line}

    return [order, JSONRenderer()]


class SecretRedactor:
    """Puts stars in place of what only its owner may see: given secrets, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one may be a part of another.
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _: WrappedLogger, __: str, line: EventDict) -> EventDict:
        return {
            name: REDACTED if _is_secret_name(name, value) else self.redact(value)
            for name, value in line.items()
        }

    def redact(self, value: Any) -> Any:
        """`value` without secrets; whatever it is, as text unless it is a number or a truth."""
        if value is None or isinstance(value, bool | int | float):
            return value
        text = value if isinstance(value, str) else repr(value)
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        for pattern, shown in _PATTERNS:
            text = pattern.sub(shown, text)
        return text


def _is_secret_name(name: str, value: object) -> bool:
    # How many tokens a model read is none.
    return _NAME.search(name) is not None and not isinstance(value, int | float | None)


def secret_values(settings: Settings) -> set[str]:
    """What must not be told of these settings: passwords in URLs, tokens, keys."""
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
    # Shorter ones would turn every log into stars.
    return {secret for secret in found if len(secret) >= 4}


def _password(url: str) -> set[str]:
    try:
        password = make_url(url).password
    except (ArgumentError, ValueError):
        return set()
    # As it is, and as it stands in the URL.
    return {str(password), *re.findall(r"://[^/:@]*:([^@]*)@", url)} if password else set()
