"""The handler of each operation: takes the call and all parsed arguments, and returns the answer.

A handler whose answer may have to wait for participants returns a `Pending` answer instead; the interfaces wait,
because each knows differently when its caller is gone.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

from understudy import documentation
from understudy.domain.cancellation import SCOPES, CancelScope, parse_scope
from understudy.domain.filters import PeopleFilter
from understudy.domain.lifecycle import Status
from understudy.envelopes.base import Envelope
from understudy.envelopes.simulations import CancelEnvelope, Dispatch, RunFailure, RunSuccess
from understudy.envelopes.studies import StudyCreated
from understudy.operations.queries import ParticipantsQuery
from understudy.operations.requests import CancelRequest, StudyRequest, WaitRequest, WhereRequest
from understudy.service import ask_results, asks, deletions, journeys, participants, people, studies, webhooks
from understudy.service.call import Call
from understudy.service.cancel import cancel
from understudy.service.dispatching import extend, resolve_wait, run_study
from understudy.service.response import timeout_of


class Pending(NamedTuple):
    """An answer about dispatched participants."""

    dispatch: Dispatch
    #: Whether the caller waits, and how long at most.
    wait: bool
    timeout_s: float
    #: Makes the answer of the operation from the RunStudyResponse.
    complete: Callable[[RunSuccess | RunFailure], Envelope] = lambda response: response


Handler: TypeAlias = Callable[[Call, Any], Any]


def _dispatching(dispatch: Callable[[Call, Any], Dispatch]) -> Handler:
    def handle(call: Call, request: Any) -> Pending:
        timeout_s = timeout_of(call.service, request)
        return Pending(dispatch(call, request), request.wait, timeout_s)

    return handle


def _study_create(call: Call, request: StudyRequest) -> StudyCreated | Pending:
    timeout_s = 0.0 if request.run is None else timeout_of(call.service, request.run)
    study, dispatch = studies.create_study(call, request)
    if request.run is None or dispatch is None:
        return StudyCreated(**dict(study))
    return Pending(dispatch, request.run.wait, timeout_s, lambda run: StudyCreated(**dict(study), run=run))


def _cancel(call: Call, request: CancelRequest) -> CancelEnvelope:
    scope = parse_scope(**{name: getattr(request, name) for name in SCOPES}, round_number=request.round)
    return cancel(call.service, call.workspace_id, scope)


def _cancel_one(call: Call, request: Any) -> CancelEnvelope:
    return cancel(call.service, call.workspace_id, CancelScope("participant_id", request.participant_id, None))


async def _wait(call: Call, request: WaitRequest) -> Pending:
    timeout_s = timeout_of(call.service, request)
    return Pending(await resolve_wait(call, request), wait=True, timeout_s=timeout_s)


def _list_participants(call: Call, request: ParticipantsQuery) -> Envelope:
    return participants.list_participants(
        call.service,
        call.workspace_id,
        study_id=request.study_id,
        iteration_id=request.iteration_id,
        ask_id=request.ask_id,
        round_number=request.round,
        status=None if request.status is None else Status(request.status),
        cursor=request.cursor,
        limit=request.limit,
    )


def _where(request: WhereRequest) -> PeopleFilter:
    return PeopleFilter.of(**request.model_dump(include=set(WhereRequest.model_fields)))


#: Operation -> its handler.
HANDLERS: dict[str, Handler] = {
    "study_create": _study_create,
    "study_add_iteration": studies.add_iteration,
    "study_run": _dispatching(run_study),
    "study_pause": studies.pause_study,
    "study_resume": studies.resume_study,
    "study_list": lambda call, request: studies.list_studies(
        call.service, call.workspace_id, request.cursor, request.limit, newest_first=request.newest_first
    ),
    "study_get": lambda call, request: studies.get_study(
        call.service, call.workspace_id, request.study_id, request.view, request.cursor, request.limit
    ),
    "ask_run": _dispatching(asks.run_ask),
    "ask_round": _dispatching(asks.run_round),
    "ask_list": lambda call, request: ask_results.list_asks(
        call.service, call.workspace_id, request.cursor, request.limit, newest_first=request.newest_first
    ),
    "ask_get": lambda call, request: ask_results.get_ask(
        call.service, call.workspace_id, request.ask_id, request.view, request.cursor, request.limit
    ),
    "person_create": people.create,
    "person_list": lambda call, request: people.list_people(
        call.service, call.workspace_id, request.cursor, request.limit, _where(request)
    ),
    "person_export": lambda call, request: people.export_people(call.service, call.workspace_id, _where(request)),
    "person_get": lambda call, request: people.get_person(call.service, call.workspace_id, request.person_id),
    "study_delete": deletions.delete_study,
    "ask_delete": deletions.delete_ask,
    "person_delete": deletions.delete_person,
    "participant_list": _list_participants,
    "participant_get": lambda call, request: participants.get_participant(
        call.service, call.workspace_id, request.participant_id
    ),
    "participant_interactions": lambda call, request: participants.get_interactions(
        call.service,
        call.workspace_id,
        request.participant_id,
        own=request.own,
        cursor=request.cursor,
        limit=request.limit,
    ),
    "participant_transcript": lambda call, request: participants.get_transcript(
        call.service, call.workspace_id, request.participant_id
    ),
    "participant_journey": lambda call, request: journeys.get_journey(
        call.service, call.workspace_id, request.participant_id
    ),
    "simulation_cancel": _cancel,
    "participant_cancel": _cancel_one,
    "simulation_extend": _dispatching(extend),
    "participant_extend": _dispatching(extend),
    "docs_list": lambda _, request: documentation.list_docs(request.cursor, request.limit),
    "docs_get": lambda _, request: documentation.get_doc(request.slug),
    "webhook_create": webhooks.create,
    "webhook_list": webhooks.list_webhooks,
    "webhook_get": webhooks.get_webhook,
    "webhook_delete": webhooks.delete_webhook,
    "webhook_rotate": webhooks.rotate,
    "webhook_replay": webhooks.replay,
    "webhook_deliveries": webhooks.list_deliveries,
}
#: Operation -> its handler, if that must not use a thread.
ASYNC_HANDLERS: dict[str, Callable[[Call, Any], Awaitable[Pending]]] = {"simulation_wait": _wait}
