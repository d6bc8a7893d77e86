"""Implements simulation_cancel: cancels the active participants of one scope. Source: contract section 3."""

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

#: Participants that one transaction cancels: on SQLite it blocks other writers for up to 0.5 s.
CANCEL_BATCH_SIZE = 10_000
#: After this many consecutive attempts with the store unavailable, the remaining cancels fail untried.
MAX_STORE_FAILURES = 3

_KINDS = {
    "participant_id": Kind.PARTICIPANT,
    "study_id": Kind.STUDY,
    "iteration_id": Kind.ITERATION,
    "ask_id": Kind.ASK,
}


@metrics.time_cancel()
def cancel(service: Service, workspace_id: UUID, requested: CancelScope) -> CancelEnvelope:
    """Cancel every active participant in scope; the answer is final for each of them.

    A participant that becomes terminal in the meantime is skipped. Its item reports the failure of a single
    cancel. Aborts of steps and stop tasks are published in the background. Repeating the call is safe.

    A commit is in doubt if the store connection is lost during it. Then the rows decide: a participant that
    was active and is cancelled now counts as cancelled (two concurrent cancels may both count it). If the
    rows cannot be read either, participants in doubt still get aborts and stop tasks. A participant that was
    not cancelled is then released and continues.

    Raises NotFound; ServiceUnavailable if the store is unavailable for all of them.
    """
    with service.store.read() as connection:
        scope = _find_scope(connection, workspace_id, requested)
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
        # Last: publishing thousands of messages must not delay the answer.
        service.notifier.enqueue(affected_ids)
        service.publisher.enqueue_stop_tasks(affected_ids)


def _find_scope(connection: Connection, workspace_id: UUID, requested: CancelScope) -> ParticipantScope:
    row = find(connection, workspace_id, _KINDS[requested.parameter], requested.ref, requested.parameter)
    if requested.round is not None:
        check_round(row, requested.round)
    return ParticipantScope(**{requested.parameter: row.id}, round=requested.round)


@dataclass(frozen=True, slots=True)
class _CancelResults:
    """The cancelled participants and the failures; a participant in neither was no longer active."""

    cancelled: set[UUID] = field(default_factory=set)
    #: Cancelled participants that a worker was running, or may have been.
    running: set[UUID] = field(default_factory=set)
    failures: dict[UUID, UnderstudyError] = field(default_factory=dict)
    #: Participants whose cancel failed but may have been committed.
    in_doubt: set[UUID] = field(default_factory=set)

    def count(self, cancelled: Mapping[UUID, bool]) -> None:
        """Records these as cancelled and clears their failures and doubts; True: a worker was running it."""
        self.cancelled.update(cancelled)
        self.running.update(id_ for id_, runs in cancelled.items() if runs)
        for id_ in self.failures.keys() & cancelled:
            del self.failures[id_]
        self.in_doubt.difference_update(cancelled)


def _cancel_all(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> _CancelResults:
    tally = _CancelResults()
    unavailable: ServiceUnavailable | None = None
    for chunk in chunks(ids, CANCEL_BATCH_SIZE):
        if unavailable is not None:
            tally.failures.update(dict.fromkeys(chunk, unavailable))
            continue
        try:
            tally.count(_cancel_batch(service, workspace_id, chunk))
        except (UnderstudyError, StoreError) as error:
            log.warning("a batch of %d cancels failed (%s); trying one by one", len(chunk), error)
            if _may_be_committed(error):
                tally.in_doubt.update(chunk)
            unavailable = _cancel_one_by_one(service, workspace_id, chunk, tally)
    return tally


def _cancel_batch(service: Service, workspace_id: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
    with faults.fault_site("cancel.commit"):
        return service.store.write(lambda connection: lifecycle.cancel(connection, workspace_id, ids))


def _may_be_committed(error: Exception) -> bool:
    return isinstance(error, ServiceUnavailable | StoreError)


def _cancel_one_by_one(
    service: Service, workspace_id: UUID, ids: Sequence[UUID], tally: _CancelResults
) -> ServiceUnavailable | None:
    """Cancels each in its own transaction. Returns the error after MAX_STORE_FAILURES in a row, else None."""
    consecutive_failures = 0
    for position, id_ in enumerate(ids):
        try:
            tally.count(_cancel_batch(service, workspace_id, [id_]))
            consecutive_failures = 0
        except ServiceUnavailable as error:
            tally.failures[id_] = error
            tally.in_doubt.add(id_)
            consecutive_failures += 1
            if consecutive_failures >= MAX_STORE_FAILURES:
                tally.failures.update(dict.fromkeys(ids[position:], error))
                return error
        except UnderstudyError as error:
            tally.failures[id_] = error
        except StoreError:
            log.exception("participant %s could not be cancelled", id_)
            tally.failures[id_] = UnderstudyError("The cancel failed. See the server log.")
            tally.in_doubt.add(id_)
    return None


def _resolve_in_doubt(service: Service, workspace_id: UUID, tally: _CancelResults) -> None:
    """Reads the rows in doubt and records the cancelled ones. If the read fails, all stay in doubt."""
    if not tally.in_doubt:
        return
    try:
        with service.store.read() as connection:
            rows = participants.states(connection, workspace_id, list(tally.in_doubt))
    except (ServiceUnavailable, StoreError) as error:
        log.warning("%d cancels remain in doubt: %s", len(tally.in_doubt), error)
        return
    tally.count({row.id: True for row in rows if row.status == Status.CANCELLED})
    tally.in_doubt.clear()


def _store_unavailable(failures: dict[UUID, UnderstudyError]) -> bool:
    return all(isinstance(error, ServiceUnavailable) for error in failures.values())


def _envelope(plan: CancelPlan, cancelled: set[UUID], failures: dict[UUID, UnderstudyError]) -> CancelEnvelope:
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
