"""Builds the RunStudyResponse of run, extend and wait. Source: contract section 5."""

import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

from understudy.domain.errors import ERROR_RULES, ServiceUnavailable, UnderstudyError, ValidationError
from understudy.domain.lifecycle import TERMINAL
from understudy.domain.queues import WorkerKind, kind_for_queue
from understudy.domain.stuck_detection import missing_worker
from understudy.envelopes.simulations import Dispatch, NextAction, ParticipantState, Progress, RunFailure, RunSuccess
from understudy.service import Service
from understudy.service.dispatching import ReplayedDispatch
from understudy.store import leases, limits, participants
from understudy.store.engine import AnyRow, StoreError

#: Maximum ids that `next_action` lists; above it, `next_action` names their study or ask.
MAX_IDS_TO_WAIT_FOR = 100
POLL_AFTER_S = 5


def timeout_of(service: Service, request: Any) -> float:
    """Returns the wait in seconds that a request asks for; the default is bounded by `max_wait_s`.

    Raises ValidationError.
    """
    max_wait_s, timeout_s = service.settings.max_wait_s, float(request.timeout)
    if timeout_s <= max_wait_s:
        return timeout_s
    if "timeout" not in request.model_fields_set:
        return max_wait_s
    raise ValidationError(f"timeout must be at most {max_wait_s:g} seconds; {timeout_s:g} was given.")


def build_response(service: Service, workspace_id: UUID, dispatch: Dispatch, timeout_s: float) -> RunSuccess:
    """Returns the states of the dispatched participants, and `next_action` while one is not terminal.

    New participants need no read: their states are those of the dispatch.
    """
    if not isinstance(dispatch, ReplayedDispatch):
        return _answer(dispatch, _initial_states(dispatch), timeout_s)
    try:
        with service.store.read() as connection:
            states = participants.states(connection, workspace_id, dispatch.participant_ids)
    except (ServiceUnavailable, StoreError) as error:
        return _response_without_read(dispatch, timeout_s, error)
    return _answer(dispatch, states, timeout_s)


async def wait_and_build_response(
    service: Service, workspace_id: UUID, dispatch: Dispatch, timeout_s: float
) -> RunSuccess | RunFailure:
    """Waits until every dispatched participant is terminal; returns `wait_timeout` after `timeout_s`.

    The runs continue in every case, even if the caller disconnects.
    """
    began = time.monotonic()
    finished = await service.waiting.wait_until_terminal(dispatch.participant_ids, timeout_s)
    if all(id_ in finished for id_ in dispatch.participant_ids):
        return _answer(dispatch, [finished[id_] for id_ in dispatch.participant_ids], timeout_s)
    # A server that shuts down ends its waits early.
    waited_s = min(round(time.monotonic() - began, 1), timeout_s)
    # The current states count, not the reason why the wait ended.
    try:
        states = await service.waiting.states(workspace_id, dispatch.participant_ids)
        result = _answer(dispatch, states, timeout_s)
        if result.next_action is not None:
            result.next_action.why += await _obstacles(service, workspace_id, dispatch.participant_ids)
    except (ServiceUnavailable, StoreError) as error:
        result = _response_without_read(dispatch, timeout_s, error)
    return result if result.next_action is None else _wait_timeout(result, waited_s)


async def _obstacles(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> str:
    """Returns the sentences for `next_action.why` about what keeps pending ones of `ids` from running.

    Empty if the store does not answer now.
    """
    try:
        sentences = await service.waiting.read(lambda: obstacles(service, workspace_id, ids))
    except (ServiceUnavailable, StoreError):
        return ""
    return "".join(f" {sentence}" for sentence in sentences)


def obstacles(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> list[str]:
    """Returns, in sentences, the missing workers, pauses and limits that keep pending ones of `ids` from running."""
    with service.store.read() as connection:
        needed = {kind_for_queue(queue) for queue in participants.pending_queues(connection, workspace_id, ids)}
        if not needed:
            return []
        live = leases.live_by_kind(connection)
        holds = limits.holds(connection, workspace_id, ids, service.settings.default_limits)
    missing = [missing_worker(kind) for kind in WorkerKind if kind in needed and not live[kind]]
    return missing + sorted({hold.sentence for hold in holds.values()})


def unfinished(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
    """Returns those of `ids` that are not terminal, in the given order."""
    with service.store.read() as connection:
        return participants.non_terminal_ids(connection, workspace_id, ids)


def failure(error: UnderstudyError) -> RunFailure:
    """Returns the body of a dispatch that failed."""
    return RunFailure(
        error_kind=error.code,
        error_code=error.code,
        error=str(error),
        retryable=error.rule.retryable,
        suggestions=list(error.suggestions),
    )


class Dispatched(NamedTuple):
    """The state of a participant at its dispatch."""

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


def _response_without_read(dispatch: Dispatch, timeout_s: float, error: Exception) -> RunSuccess:
    """Returns the states at the dispatch. Raises `error` if nothing was dispatched (simulation_wait)."""
    if dispatch.max_interactions is None:
        raise error
    # The dispatch is committed: an error would make the caller dispatch it again.
    return _answer(dispatch, _initial_states(dispatch), timeout_s)


def _answer(dispatch: Dispatch, states: Sequence[AnyRow | Dispatched], timeout_s: float) -> RunSuccess:
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
        next_action=_next_action(states, timeout_s),
    )


def _wait_timeout(result: RunSuccess, waited_s: float) -> RunFailure:
    finished = sum(state.status in TERMINAL for state in result.participants)
    total = len(result.participants)
    return RunFailure(
        error_kind="wait_timeout",
        error_code="wait_timeout",
        error=f"After {waited_s:g} s {finished} of {total} finished; the others are still running.",
        retryable=ERROR_RULES["wait_timeout"].retryable,
        suggestions=["Follow next_action to wait again. Do not dispatch again; the runs already exist."],
        dispatch=result.dispatch,
        participants=result.participants,
        progress=Progress(done=finished, total=total),
        next_action=result.next_action,
    )


def _next_action(states: Sequence[AnyRow | Dispatched], timeout_s: float) -> NextAction | None:
    unfinished = [row for row in states if row.status not in TERMINAL]
    if not unfinished:
        return None
    why = f"{len(unfinished)} of {len(states)} participants are not terminal yet."
    if len(states) <= MAX_IDS_TO_WAIT_FOR:
        return _wait_for(states, timeout_s, why)
    if len({(row.study_id, row.ask_id) for row in unfinished}) > 1:
        # No single study or ask covers all of them.
        batch = unfinished[:MAX_IDS_TO_WAIT_FOR]
        if len(batch) < len(unfinished):
            why += f" These are the first {len(batch)}; then wait for the rest."
        return _wait_for(batch, timeout_s, why)
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
