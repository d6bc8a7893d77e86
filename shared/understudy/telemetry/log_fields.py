"""The fields that all log lines of a task or request carry."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

#: One variable: structlog has one for each field, and each line looks for them among all variables.
_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=MappingProxyType({}))


def current_fields() -> Mapping[str, str]:
    """Returns the fields that are set here."""
    return _fields.get()


def bind(**fields: object) -> None:
    """Adds `fields` to all later log lines of this block, task or request; omits those that are None."""
    _fields.set({**_fields.get(), **{name: str(value) for name, value in fields.items() if value is not None}})


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Adds `fields` to the log lines of this block."""
    token = _fields.set({**_fields.get(), **{name: str(value) for name, value in fields.items()}})
    try:
        yield
    finally:
        _fields.reset(token)
