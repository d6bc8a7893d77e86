"""Serves events over REST as server-sent events. Source: contract section 6."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Request
from fastapi.sse import format_sse_event
from pydantic import BeforeValidator
from starlette.responses import JSONResponse, Response, StreamingResponse

from understudy.domain.ids import Kind
from understudy.domain.tickets import invalid_ticket
from understudy.envelopes.events import EventTicket
from understudy.operations.webhook_requests import TicketRequest
from understudy.rest.inputs import Flag, IdInQuery, TheService, Workspace
from understudy.service import Service
from understudy.service.credentials import Credential
from understudy.service.event_subscribers import Event, EventScope
from understudy.store.tickets import Ticket, create_ticket

router = APIRouter()

#: Milliseconds that a client should wait before it reconnects.
RETRY_MS = 1_000
_LARGEST_ID = 2**63 - 1


class EventStream(StreamingResponse):
    """Sends server-sent events that are already bytes: a page of events is one write.

    FastAPI's own class uses two tasks per reader and encodes each event again for every reader.
    """

    media_type = "text/event-stream"

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        super().__init__(content)
        self.headers["Cache-Control"] = "no-cache"
        # Otherwise nginx holds events back until its buffer is full.
        self.headers["X-Accel-Buffering"] = "no"


def _digits(value: object) -> object:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise ValueError("give the id of an event: a whole number in plain digits")
        return int(value)
    return value


LastEventIdHeader = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=_LARGEST_ID,
        description="Continue after the event with this id. Default: start with the first event.",
    ),
    BeforeValidator(_digits),
]
LastEventIdInQuery = Annotated[
    int | None,
    Query(
        ge=0,
        le=_LARGEST_ID,
        description="`Last-Event-ID` for clients that cannot send headers; the header takes precedence.",
    ),
    BeforeValidator(_digits),
]
TicketInQuery = Annotated[
    str | None,
    Query(max_length=300, description="A ticket in place of the `Authorization` header, for browsers."),
]
Follow = Annotated[Flag, Query(description="`false`: end after the events that exist now.")]


#: Schema of one event of the stream; `itemSchema` would say so, but comes only with OpenAPI 3.2.
_STREAM = {
    "schema": {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "description": "Position of the event, a whole number."},
            "event": {"type": "string", "enum": ["status", "interaction", "stopped"]},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "JSON with participant_id, seq and at, and what belongs to the event.",
            },
        },
    }
}


@router.get(
    "/v1/events",
    operation_id="events",
    tags=["events"],
    summary="Follow events",
    # A class without a media type: errors are JSON, as on every other path.
    response_class=Response,
    responses={200: {"description": "Server-sent events.", "content": {"text/event-stream": _STREAM}}},
)
async def events(
    request: Request,
    service: TheService,
    workspace: Workspace,
    study_id: IdInQuery = None,
    participant_id: IdInQuery = None,
    ask_id: IdInQuery = None,
    last_event_id: LastEventIdInQuery = None,
    header: LastEventIdHeader = None,
    follow: Follow = True,
    ticket: TicketInQuery = None,  # noqa: ARG001 - admission takes it out of the address
) -> EventStream:
    """Streams the events of a study, ask or participant: status changes, committed interactions, stops.

    Each event comes once; the events of a participant come in order. To miss none, reconnect with the id of
    the last event, to this server or another of the same installation.
    """
    after = (last_event_id if header is None else header) or 0
    refs = {Kind.STUDY: study_id, Kind.PARTICIPANT: participant_id, Kind.ASK: ask_id}
    opened: Ticket | None = getattr(request.state, "ticket", None)
    if opened is not None and not any(refs.values()):
        refs[opened.kind] = str(opened.scope_id)
    scope = await service.events.find(workspace, refs, after)
    if opened is not None and (scope.kind, scope.id) != (opened.kind, opened.scope_id):
        raise invalid_ticket()
    batches = _batches(service, request.state.credential, scope, after, follow=follow)
    # The first batch is empty; errors come before it, while the status can still be set.
    await anext(batches)
    return EventStream(_frames(batches))


async def _batches(
    service: Service, credential: Credential, scope: EventScope, after: int, *, follow: bool
) -> AsyncGenerator[Sequence[Event]]:
    """Yields the batches while it holds a place and the credential is valid. Raises RateLimited without a place."""
    async with service.limits.hold(scope.workspace_id, "event_streams"):
        with service.credentials.watch(credential) as watched:
            hub = service.events
            batches = hub.follow(scope, after, watched) if follow else hub.read(scope, after)
            async with contextlib.aclosing(batches):
                async for batch in batches:
                    yield batch
                    if watched.is_over:
                        return


def _secret(request: Request) -> str:
    return request.headers["authorization"].partition(" ")[2].strip()


@router.post(
    "/v1/events/tickets",
    operation_id="event_ticket",
    tags=["events"],
    summary="Create a ticket for a browser",
    status_code=201,
    response_model=EventTicket,
)
async def event_ticket(
    request: Request,
    service: TheService,
    workspace: Workspace,
    body: Annotated[TicketRequest, Body(openapi_examples={"study": {"value": {"study_id": "s-b2c"}}})],
) -> JSONResponse:
    """Creates a ticket with which a browser follows the events of one study, participant or ask.

    `GET /v1/events?ticket=…` needs no other credential. A ticket opens nothing else. It works any number of times
    for 10 minutes, and ends with the token that created it.
    """
    refs = {Kind.STUDY: body.study_id, Kind.PARTICIPANT: body.participant_id, Kind.ASK: body.ask_id}
    scope = await service.events.find(workspace, refs, 0)
    secret = _secret(request)
    ticket, claims = await service.events.read_store(
        lambda connection: create_ticket(connection, secret, scope.kind, scope.id)
    )
    answer = EventTicket(ticket=ticket, expires_at=claims.expires_at)
    return JSONResponse(answer.model_dump(mode="json"), 201, headers={"Cache-Control": "no-store"})


async def _frames(batches: AsyncGenerator[Sequence[Event]]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(batches):
        yield format_sse_event(retry=RETRY_MS)
        async for batch in batches:
            frames = [format_sse_event(id=str(id_), event=kind, data_str=data) for id_, kind, data in batch]
            yield b"".join(frames) or format_sse_event(comment="heartbeat")
