"""simulation_cancel: stop what is queued or runs, by one scope. Source: contract section 3."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from understudy import faults
from understudy.domain.cancellation import ALREADY_TERMINAL, CancelPlan, CancelScope, Skip, plan_cancellation
from understudy.domain.errors import ServiceUnavailable, UnderstudyError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.envelopes.simulations import CancelEnvelope, CancelledItem, CancelSummary, SkippedItem
from understudy.service import Service
from understudy.service.participants import check_round
from understudy.store import Connection, lifecycle, participants
from understudy.store.aliases import find
from understudy.store.engine import StoreError, chunks
from understudy.store.participants import ParticipantScope
from understudy.telemetry import metrics

log = logging.getLogger(__name__)

#: Participants that one transaction cancels: on SQLite nobody else writes for up to half a second.
CANCEL_BATCH_SIZE = 10_000
#: After so many participants in a row for whom the store was away, it is away for the rest too.
MAX_STORE_FAILURES = 3

_KINDS = {
    "participant_id": Kind.PARTICIPANT,
    "study_id": Kind.STUDY,
    "iteration_id": Kind.ITERATION,
    "ask_id": Kind.ASK,
}


@metrics.time_cancel()
def cancel(service: Service, workspace_id: UUID, given: CancelScope) -> CancelEnvelope:
    """Cancel every active participant in scope; the answer is final for each of them.

    Whoever became terminal while we looked is skipped, not cancelled. A failure of one is told in its item.
    Steps in flight are aborted and stop tasks published behind the answer. Repeating it is safe.

    When the store was lost during a commit, nobody said whether it happened. Then the rows are asked: who was
    active when we looked and is cancelled now counts as cancelled by us, as it most likely was (of two
    cancels at that moment both may count it). If the rows cannot be asked either, those in doubt are told to
    abort and to stop all the same: who was not cancelled after all is given back and goes on.

    Raises NotFound; ServiceUnavailable when the store is wholly away.
    """
    with service.store.read() as connection:
        scope = _find_scope(connection, workspace_id, given)
        plan = plan_cancellation(participants.cancel_candidates(connection, workspace_id, scope))
    tally = _cancel_all(service, workspace_id, plan.cancel)
    _resolve_in_doubt(service, workspace_id, tally)
    metrics.count_ended(Status.CANCELLED, count=len(tally.cancelled))
    affected_ids = [*tally.cancelled, *tally.in_doubt]
    service.publisher.enqueue_aborts([*tally.running, *tally.in_doubt])
    failures = tally.failures
    try:
        if plan.cancel and len(failures) == len(plan.cancel) and _store_unavailable(failures):
            raise next(iter(failures.values()))
        return _envelope(plan, tally.cancelled, failures)
    finally:
        # Last of all: thousands of messages take time, which is not to be the answer's.
        service.notifier.enqueue(affected_ids)
        service.publisher.enqueue_stop_tasks(affected_ids)


def _find_scope(connection: Connection, workspace_id: UUID, given: CancelScope) -> ParticipantScope:
    row = find(connection, workspace_id, _KINDS[given.parameter], given.ref, given.parameter)
    if given.round is not None:
        check_round(row, given.round)
    return ParticipantScope(**{given.parameter: row.id}, round=given.round)


@dataclass(frozen=True, slots=True)
class _CancelResults:
    """Who was cancelled, and why some could not be asked. In neither: no longer active."""

    cancelled: set[UUID] = field(default_factory=set)
    #: Those of them that a worker runs, as far as we know.
    running: set[UUID] = field(default_factory=set)
    failures: dict[UUID, UnderstudyError] = field(default_factory=dict)
    #: A cancel of theirs failed in a way that it may have been committed all the same.
    in_doubt: set[UUID] = field(default_factory=set)

    def count(self, cancelled: Mapping[UUID, bool]) -> None:
        """These are cancelled, whatever was thought of them before; True of those that a worker runs."""
        self.cancelled.update(cancelled)
        self.running.update(id_ for id_, runs in cancelled.items() if runs)
        for id_ in self.failures.keys() & cancelled:
            del self.failures[id_]
        self.in_doubt.difference_update(cancelled)


def _cancel_all(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> _CancelResults:
    tally = _CancelResults()
    away: ServiceUnavailable | None = None
    for chunk in chunks(ids, CANCEL_BATCH_SIZE):
        if away is not None:
            tally.failures.update(dict.fromkeys(chunk, away))
            continue
        try:
            tally.count(_cancel_some(service, workspace_id, chunk))
        except (UnderstudyError, StoreError) as error:
            log.warning("%d cancels at once failed (%s); trying one by one", len(chunk), error)
            if _may_be_committed(error):
                tally.in_doubt.update(chunk)
            away = _one_by_one(service, workspace_id, chunk, tally)
    return tally


def _cancel_some(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
    with faults.fault_site("cancel.commit"):
        return service.store.write(lambda connection: lifecycle.cancel(connection, workspace_id, ids))


def _may_be_committed(error: Exception) -> bool:
    return isinstance(error, ServiceUnavailable | StoreError)


def _one_by_one(
    service: Service, workspace_id: UUID, ids: Sequence[UUID], tally: _CancelResults
) -> ServiceUnavailable | None:
    """Cancel each by itself. Returns the error once the store is unavailable for good."""
    away_in_a_row = 0
    for position, id_ in enumerate(ids):
        try:
            tally.count(_cancel_some(service, workspace_id, [id_]))
            away_in_a_row = 0
        except ServiceUnavailable as error:
            tally.failures[id_] = error
            tally.in_doubt.add(id_)
            away_in_a_row += 1
            if away_in_a_row >= MAX_STORE_FAILURES:
                tally.failures.update(dict.fromkeys(ids[position:], error))
                return error
        except UnderstudyError as error:
            tally.failures[id_] = error
        except StoreError:
            log.exception("participant %s could not be cancelled", id_)
            tally.failures[id_] = UnderstudyError("It could not be cancelled; the server's log says why.")
            tally.in_doubt.add(id_)
    return None


def _resolve_in_doubt(service: Service, workspace_id: UUID, tally: _CancelResults) -> None:
    """Ask the rows about those in doubt. If that fails, they stay in doubt."""
    if not tally.in_doubt:
        return
    try:
        with service.store.read() as connection:
            rows = participants.states(connection, workspace_id, list(tally.in_doubt))
    except (ServiceUnavailable, StoreError) as error:
        log.warning("%d cancels stay in doubt: %s", len(tally.in_doubt), error)
        return
    tally.count({row.id: True for row in rows if row.status == Status.CANCELLED})
    tally.in_doubt.clear()


def _store_unavailable(failures: dict[UUID, UnderstudyError]) -> bool:
    return all(isinstance(error, ServiceUnavailable) for error in failures.values())


def _envelope(
    plan: CancelPlan, cancelled: set[UUID], failures: dict[UUID, UnderstudyError]
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
