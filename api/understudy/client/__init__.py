"""The Python client. The public names are listed here; all other names in the package are private.

    from understudy.client import AsyncUnderstudy, Understudy

Methods return the models of `understudy.envelopes` and raise the errors below.
"""

from understudy.client.async_client import AsyncUnderstudy
from understudy.client.client import Understudy
from understudy.client.errors import ResponseLost, UnknownErrorCode, to_error
from understudy.domain.errors import (
    AuthFailed,
    Conflict,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServiceUnavailable,
    UnderstudyError,
    UsageLimitReached,
    ValidationError,
)
from understudy.envelopes.asks import Ask, AskFull, AskPerParticipant, AskSummary
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry
from understudy.envelopes.events import Event
from understudy.envelopes.journeys import Journey
from understudy.envelopes.participants import Interaction, Participant, Transcript
from understudy.envelopes.people import Panel, People, Person
from understudy.envelopes.simulations import CancelEnvelope, RunFailure, RunSuccess
from understudy.envelopes.studies import (
    Iteration,
    Study,
    StudyCreated,
    StudyFull,
    StudyPerParticipant,
    StudySummary,
    StudyTranscripts,
)

__all__ = [
    "Ask",
    "AskFull",
    "AskPerParticipant",
    "AskSummary",
    "AsyncUnderstudy",
    "AuthFailed",
    "CancelEnvelope",
    "Conflict",
    "Doc",
    "DocEntry",
    "Event",
    "Interaction",
    "Iteration",
    "Journey",
    "NotFound",
    "Page",
    "Panel",
    "Participant",
    "People",
    "PermissionDenied",
    "Person",
    "RateLimited",
    "ResponseLost",
    "RunFailure",
    "RunSuccess",
    "ServiceUnavailable",
    "Study",
    "StudyCreated",
    "StudyFull",
    "StudyPerParticipant",
    "StudySummary",
    "StudyTranscripts",
    "Transcript",
    "Understudy",
    "UnderstudyError",
    "UnknownErrorCode",
    "UsageLimitReached",
    "ValidationError",
    "to_error",
]
