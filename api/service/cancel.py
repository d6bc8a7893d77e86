"""simulation_cancel: stop what is queued or runs, by one scope. Source: contract section 3."""

import logging
from collections.abc import Sequence
from uuid import UUID

from api.service import Service
from shared import faults
from shared.domain.cancellation import ALREADY_TERMINAL, CancelPlan, GivenScope, Skip, plan_cancellation
from shared.domain.errors import NotFound, ServiceUnavailable, UnderstudyError
from shared.domain.ids import Kind
from shared.domain.lifecycle import Status
from shared.envelopes import CancelEnvelope, CancelledItem, CancelSummary, SkippedItem
from shared.store import Connection, lifecycle, participants
from shared.store.aliases import find
from shared.store.engine import StoreError, chunks
from shared.store.participants import Scope

log = logging.getLogger(__name__)

#: Participants that one transaction cancels.
CHUNK = 1_000
#: After so many participants in a row for whom the store was away, it is away for the rest too.
AWAY_AFTER = 3

_KINDS = {
    "participant_id": Kind.PARTICIPANT,
    "study_id": Kind.STUDY,
    "iteration_id": Kind.ITERATION,
    "ask_id": Kind.ASK,
}


def cancel(service: Service, workspace_id: UUID, given: GivenScope) -> CancelEnvelope:
    """Cancel every active participant in scope; the answer is final for each of them.

    Whoever became terminal while we looked is skipped, not cancelled. A failure of one is told in its item.
    Steps in flight are aborted and stop tasks published behind the answer. Repeating it is safe.
    Raises NotFound; ServiceUnavailable when the store is wholly away.
    """
    with service.store.read() as connection:
        scope = _find_scope(connection, workspace_id, given)
        plan = plan_cancellation(participants.candidates(connection, workspace_id, scope))
    cancelled, failures = _cancel_all(service, workspace_id, plan.cancel)
    service.publisher.abort_soon(cancelled)
    service.notifier.publish_soon(cancelled)
    service.publisher.stop_soon(cancelled)
    if plan.cancel and len(failures) == len(plan.cancel) and _all_away(failures):
        raise next(iter(failures.values()))
    return _envelope(plan, frozenset(cancelled), failures)


def _find_scope(connection: Connection, workspace_id: UUID, given: GivenScope) -> Scope:
    row = find(connection, workspace_id, _KINDS[given.parameter], given.ref, given.parameter)
    if given.round is not None:
        rounds = participants.round_count(connection, row.id)
        if given.round > rounds:
            raise NotFound(f"There is no round {given.round}: {row.alias} has {rounds}.")
    return Scope(**{given.parameter: row.id}, round=given.round)


def _cancel_all(
    service: Service, workspace_id: UUID, ids: Sequence[UUID]
) -> tuple[list[UUID], dict[UUID, UnderstudyError]]:
    """Who was cancelled, and why some could not be asked. In neither: no longer active."""
    cancelled: list[UUID] = []
    failures: dict[UUID, UnderstudyError] = {}
    away: ServiceUnavailable | None = None
    for chunk in chunks(ids, CHUNK):
        if away is not None:
            failures |= dict.fromkeys(chunk, away)
            continue
        try:
            cancelled += _cancel_some(service, workspace_id, chunk)
        except (UnderstudyError, StoreError) as error:
            log.warning("%d cancels at once failed (%s); trying one by one", len(chunk), error)
            some, away = _one_by_one(service, workspace_id, chunk, failures)
            cancelled += some
    return cancelled, failures


def _cancel_some(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
    with faults.around("cancel.commit"):
        return service.store.write(lambda connection: lifecycle.cancel(connection, workspace_id, ids))


def _one_by_one(
    service: Service, workspace_id: UUID, ids: Sequence[UUID], failures: dict[UUID, UnderstudyError]
) -> tuple[list[UUID], ServiceUnavailable | None]:
    """Who was cancelled, and the error once the store is away for good; `failures` gets the others'."""
    cancelled: list[UUID] = []
    away_in_a_row = 0
    for position, id_ in enumerate(ids):
        try:
            cancelled += _cancel_some(service, workspace_id, [id_])
            away_in_a_row = 0
        except ServiceUnavailable as error:
            failures[id_] = error
            away_in_a_row += 1
            if away_in_a_row >= AWAY_AFTER:
                failures |= dict.fromkeys(ids[position:], error)
                return cancelled, error
        except UnderstudyError as error:
            failures[id_] = error
        except StoreError:
            log.exception("participant %s could not be cancelled", id_)
            failures[id_] = UnderstudyError("It could not be cancelled; the server's log says why.")
    return cancelled, None


def _all_away(failures: dict[UUID, UnderstudyError]) -> bool:
    return all(isinstance(error, ServiceUnavailable) for error in failures.values())


def _envelope(
    plan: CancelPlan, cancelled: frozenset[UUID], failures: dict[UUID, UnderstudyError]
) -> CancelEnvelope:
    items, skipped = [], list(plan.skip)
    for id_ in plan.cancel:
        if id_ in cancelled:
            items.append(CancelledItem(participant_id=id_, success=True, status=Status.CANCELLED))
        elif id_ in failures:
            items.append(CancelledItem(participant_id=id_, success=False, status=failures[id_].text))
        else:
            skipped.append(Skip(id_, ALREADY_TERMINAL))
    return CancelEnvelope(
        cancelled=items,
        skipped=[SkippedItem(participant_id=skip.id, reason=skip.reason) for skip in skipped],
        summary=CancelSummary(
            total=len(items) + len(skipped),
            cancelled_count=len(cancelled),
            skipped_count=len(skipped),
            failed_count=len(failures) or None,
        ),
    )
