"""The Python client. The public names are listed here; all other names in the package are private.

    from understudy.client import AsyncUnderstudy, Understudy

Methods return the models of `understudy.envelopes` and raise the errors below.
"""

from understudy.client.async_client import AsyncUnderstudy
from understudy.client.client import Understudy
from understudy.client.errors import ResponseLost, UnknownErrorCode, to_error
from understudy.client.exchange import RawResponse
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
from understudy.envelopes.deletions import Deleted
from understudy.envelopes.docs import Doc, DocEntry
from understudy.envelopes.events import Event, EventTicket
from understudy.envelopes.health import Ready
from understudy.envelopes.journeys import Journey
from understudy.envelopes.participants import Interaction, Participant, Transcript
from understudy.envelopes.people import Panel, People, Person
from understudy.envelopes.simulations import CancelEnvelope, RunFailure, RunSuccess
from understudy.envelopes.studies import (
    Iteration,
    Study,
    StudyCreated,
    StudyFull,
    StudyPause,
    StudyPerParticipant,
    StudySummary,
    StudyTranscripts,
)
from understudy.envelopes.webhooks import Replayed, Webhook, WebhookCreated, WebhookDeleted, WebhookDelivery

__all__ = [
    "Ask",
    "AskFull",
    "AskPerParticipant",
    "AskSummary",
    "AsyncUnderstudy",
    "AuthFailed",
    "CancelEnvelope",
    "Conflict",
    "Deleted",
    "Doc",
    "DocEntry",
    "Event",
    "EventTicket",
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
    "RawResponse",
    "Ready",
    "Replayed",
    "ResponseLost",
    "RunFailure",
    "RunSuccess",
    "ServiceUnavailable",
    "Study",
    "StudyCreated",
    "StudyFull",
    "StudyPause",
    "StudyPerParticipant",
    "StudySummary",
    "StudyTranscripts",
    "Transcript",
    "Understudy",
    "UnderstudyError",
    "UnknownErrorCode",
    "UsageLimitReached",
    "ValidationError",
    "Webhook",
    "WebhookCreated",
    "WebhookDeleted",
    "WebhookDelivery",
    "to_error",
]
