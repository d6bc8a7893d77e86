"""Builds and signs the messages that receivers get, by the Standard Webhooks specification."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from standardwebhooks import Webhook as Signer

from understudy.domain.lifecycle import Status
from understudy.domain.webhooks import EventType
from understudy.envelopes.participants import Participant
from understudy.envelopes.usage import Usage
from understudy.envelopes.webhooks import DispatchFinished, WebhookMessage
from understudy.store import dispatches, participants, usage, webhooks
from understudy.store.engine import AnyRow

#: Maximum ids in a `run.finished`.
_MAX_PARTICIPANT_IDS = 1_000


def build_body(connection: Connection, delivery: AnyRow) -> str | None:
    """Returns the body of a delivery; None if its participants were deleted.

    They are terminal: every attempt has the same body, except that a stop may be recorded in between.
    """
    data: Participant | DispatchFinished | None
    if delivery.type == EventType.RUN_FINISHED:
        data = _dispatch(connection, delivery.workspace_id, delivery.source_id)
    else:
        data = _participant(connection, delivery.workspace_id, delivery.source_id)
    if data is None:
        return None
    return WebhookMessage(type=delivery.type, timestamp=delivery.occurred_at, data=data).model_dump_json()


def headers_of(delivery: AnyRow, body: str, now: datetime | None = None) -> dict[str, str]:
    """Returns the headers of an attempt: id, time and signatures, one for each live secret."""
    now = now or datetime.now(UTC)
    id_ = str(delivery.id)
    signatures = (Signer(secret).sign(id_, now, body) for secret in webhooks.secrets_of(delivery))
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _participant(connection: Connection, workspace_id: UUID, id_: UUID) -> Participant | None:
    statement = participants.select_details(workspace_id).where(participants.has_id(id_))
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    used = usage.for_participants(connection, [id_]).get(id_)
    derived: dict[str, Any] = {
        # At its end, like everything else in this message.
        "age_seconds": round((row.finished_at - row.created_at).total_seconds(), 3),
        "likely_stuck": False,
        "stuck_reason": None,
        "held_reason": None,
        "usage": None if used is None else Usage.model_validate(used, from_attributes=True),
    }
    return Participant.model_validate({**row._mapping, **derived})


def _dispatch(connection: Connection, workspace_id: UUID, id_: UUID) -> DispatchFinished | None:
    counted = dispatches.count_by_status(connection, workspace_id, id_)
    if not counted:
        return None
    by_status: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for row in counted:
        by_status[row.status] += row.number
        if row.outcome is not None:
            outcomes[row.outcome] += row.number
    first = dispatches.first_participants(connection, workspace_id, id_, _MAX_PARTICIPANT_IDS)
    one = first[0]
    return DispatchFinished(
        dispatch_id=id_,
        participant_ids=[row.id for row in first],
        study_id=one.study_id,
        iteration_id=one.iteration_id,
        ask_id=one.ask_id,
        round=one.round,
        extended_from=one.extended_from,
        participant_count=by_status.total(),
        completed_count=by_status[Status.COMPLETED],
        failed_count=by_status[Status.FAILED],
        cancelled_count=by_status[Status.CANCELLED],
        outcomes=dict(outcomes),
        finished_at=max(row.finished_at for row in counted),
    )
