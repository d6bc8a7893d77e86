"""The failure of a run whose mind, environment or stored values are at fault, with a message for callers."""

import logging
from uuid import UUID

from sqlalchemy.exc import DBAPIError, StatementError

from understudy.domain.lifecycle import FailureKind
from understudy.models import ModelFailed
from understudy.plugins.time_limits import RunFailed

log = logging.getLogger(__name__)


def simulator_error(participant_id: UUID, message: str, error: BaseException) -> RunFailed:
    """Logs `error` with its stack and returns the failure of the run; its message contains no SQL."""
    log.warning("participant %s %s", participant_id, message, exc_info=error)
    if isinstance(error, ModelFailed):
        return RunFailed(FailureKind.SIMULATOR_ERROR, error.told, error.usage)
    if isinstance(error, DBAPIError):
        text = f"The participant {message}: the store refused a value. The log of the worker says more."
        return RunFailed(FailureKind.SIMULATOR_ERROR, text)
    # An error that SQLAlchemy found in a value contains the statement; its cause does not.
    cause = error.orig if isinstance(error, StatementError) and error.orig else error
    return RunFailed(FailureKind.SIMULATOR_ERROR, f"{type(cause).__name__}: {cause}")
