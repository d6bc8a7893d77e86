"""RunStudyResponse: what run, extend and wait answer. Source: contract section 5."""

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from understudy.domain.errors import ERROR_RULES, ServiceUnavailable, UnderstudyError, ValidationError
from understudy.domain.lifecycle import TERMINAL
from understudy.envelopes.simulations import (
    Dispatch,
    NextAction,
    ParticipantState,
    Progress,
    RunFailure,
    RunSuccess,
)
from understudy.operations.requests import (
    DEFAULT_WAIT_S,
    AskRoundRequest,
    AskRunRequest,
    ExtendOptions,
    StudyRunRequest,
    WaitRequest,
)
from understudy.service import Service
from understudy.service.dispatching import ReplayedDispatch
from understudy.store import participants
from understudy.store.engine import AnyRow, StoreError

#: Ids that `next_action` names one by one; for more it points at their study.
MAX_IDS_TO_WAIT_FOR = 100
POLL_AFTER_S = 5


#: What can be waited for.
WaitableRequest: TypeAlias = StudyRunRequest | AskRunRequest | AskRoundRequest | ExtendOptions | WaitRequest


def timeout_of(service: Service, request: WaitableRequest) -> float:
    """How long to wait: as asked, by default as long as this server does. Raises ValidationError."""
    most = service.settings.max_wait_s
    if request.timeout <= most:
        return request.timeout
    if "timeout" not in request.model_fields_set:
        return most
    raise ValidationError(f"timeout must be at most {most:g} seconds; {request.timeout:g} was given.")


def build_response(service: Service, workspace_id: UUID, dispatch: Dispatch, timeout_s: float) -> RunSuccess:
    """How the dispatched participants stand, and how to go on while one of them is not terminal.

    Of those just made nobody has to ask: they are as they were dispatched.
    """
    if not isinstance(dispatch, ReplayedDispatch):
        return _answer(service, dispatch, _initial_states(dispatch), timeout_s)
    try:
        with service.store.read() as connection:
            states = participants.states(connection, workspace_id, dispatch.participant_ids)
    except (ServiceUnavailable, StoreError) as error:
        return _response_without_read(service, dispatch, timeout_s, error)
    return _answer(service, dispatch, states, timeout_s)


async def wait_and_build_response(
    service: Service, workspace_id: UUID, dispatch: Dispatch, timeout_s: float
) -> RunSuccess | RunFailure:
    """Wait until every dispatched participant is terminal; `wait_timeout` when `timeout_s` passes first.

    The runs go on either way, and when the caller goes away.
    """
    began = time.monotonic()
    done = await service.waiting.wait_until_terminal(dispatch.participant_ids, timeout_s)
    if all(id_ in done for id_ in dispatch.participant_ids):
        return _answer(service, dispatch, [done[id_] for id_ in dispatch.participant_ids], timeout_s)
    # A server that goes down ends its waits early.
    waited_s = min(round(time.monotonic() - began, 1), timeout_s)
    # What is true now counts, not why the wait ended.
    try:
        states = await service.waiting.states(workspace_id, dispatch.participant_ids)
        result = _answer(service, dispatch, states, timeout_s)
    except (ServiceUnavailable, StoreError) as error:
        result = _response_without_read(service, dispatch, timeout_s, error)
    return result if result.next_action is None else _wait_timeout(result, waited_s)


def unfinished(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
    """Those of `ids` that are not terminal, in the order given."""
    with service.store.read() as connection:
        return participants.non_terminal_ids(connection, workspace_id, ids)


def failure(error: UnderstudyError) -> RunFailure:
    """The body for a dispatch that did not happen."""
    return RunFailure(
        error_kind=error.code,
        error_code=error.code,
        error=str(error),
        retryable=error.rule.retryable,
        suggestions=list(error.suggestions),
    )


class Dispatched(NamedTuple):
    """A participant as it was when it was dispatched."""

    id: UUID
    alias: str
    interaction_count: int
    study_id: UUID | None
    ask_id: UUID | None
    status: Literal["pending"] = "pending"
    outcome: None = None
    error_kind: None = None


def _initial_states(dispatch: Dispatch) -> list[Dispatched]:
    inherited = dispatch.inherited_interactions or 0
    return [
        Dispatched(id_, alias, inherited, dispatch.study_id, dispatch.ask_id)
        for id_, alias in zip(dispatch.participant_ids, dispatch.aliases or (), strict=True)
    ]


def _response_without_read(
    service: Service, dispatch: Dispatch, timeout_s: float, error: Exception
) -> RunSuccess:
    """The answer when nobody can tell how they stand now. Raises `error` unless something was dispatched."""
    if dispatch.max_interactions is None:
        raise error
    # It is committed: whoever were told that it is not would dispatch it twice.
    return _answer(service, dispatch, _initial_states(dispatch), timeout_s)


def _answer(
    service: Service, dispatch: Dispatch, states: Sequence[AnyRow | Dispatched], timeout_s: float
) -> RunSuccess:
    return RunSuccess(
        dispatch=dispatch,
        participants=[
            ParticipantState(
                participant_id=row.id,
                status=row.status,
                outcome=row.outcome,
                interaction_count=row.interaction_count,
                error_kind=row.error_kind,
            )
            for row in states
        ],
        next_action=_next_action(states, _next_timeout_s(service, timeout_s)),
    )


def _wait_timeout(result: RunSuccess, waited_s: float) -> RunFailure:
    done = sum(state.status in TERMINAL for state in result.participants)
    total = len(result.participants)
    return RunFailure(
        error_kind="wait_timeout",
        error_code="wait_timeout",
        error=f"After {waited_s:g} s {done} of {total} finished; the others are still running.",
        retryable=ERROR_RULES["wait_timeout"].retryable,
        suggestions=["Follow next_action to wait on. Do not dispatch again; the runs already exist."],
        dispatch=result.dispatch,
        participants=result.participants,
        progress=Progress(done=done, total=total),
        next_action=result.next_action,
    )


def _next_timeout_s(service: Service, timeout_s: float) -> float:
    """How long to wait next: a wait that was too short must not be advised again."""
    return min(max(timeout_s, DEFAULT_WAIT_S), service.settings.max_wait_s)


def _next_action(states: Sequence[AnyRow | Dispatched], timeout_s: float) -> NextAction | None:
    unfinished = [row for row in states if row.status not in TERMINAL]
    if not unfinished:
        return None
    why = f"{len(unfinished)} of {len(states)} participants are not terminal yet."
    if len(states) <= MAX_IDS_TO_WAIT_FOR:
        return _wait_for(states, timeout_s, why)
    if len({(row.study_id, row.ask_id) for row in unfinished}) > 1:
        # No summary shows all of them.
        some = unfinished[:MAX_IDS_TO_WAIT_FOR]
        if len(some) < len(unfinished):
            why += f" These are the first {len(some)}; then wait for the rest."
        return _wait_for(some, timeout_s, why)
    row = unfinished[0]
    kind, id_ = ("study", row.study_id) if row.study_id else ("ask", row.ask_id)
    collection = "studies" if kind == "study" else "asks"
    return NextAction(
        tool=f"{kind}_get",
        arguments={f"{kind}_id": str(id_), "view": "summary"},
        rest=f"GET /v1/{collection}/{id_}?view=summary",
        cli=f"understudy get {id_}",
        poll_after_seconds=POLL_AFTER_S,
        why=why,
    )


def _wait_for(states: Sequence[AnyRow | Dispatched], timeout_s: float, why: str) -> NextAction:
    return NextAction(
        tool="simulation_wait",
        arguments={"participant_ids": [str(row.id) for row in states], "timeout": timeout_s},
        rest="POST /v1/simulations/wait",
        cli=f"understudy wait {' '.join(row.alias for row in states)} --timeout {timeout_s:g}",
        poll_after_seconds=POLL_AFTER_S,
        why=why,
    )
