"""Checks the quotas of a workspace in the transaction that creates participants."""

from uuid import UUID

from understudy.domain.errors import UsageLimitReached
from understudy.plugins.registry import profiled_minds
from understudy.service.call import Call
from understudy.store import Connection, quotas
from understudy.store.quotas import Quotas
from understudy.telemetry import limit_metrics


def charge(
    call: Call,
    connection: Connection,
    participants: int,
    *,
    mind: str | None = None,
    iteration_id: UUID | None = None,
    ask_id: UUID | None = None,
) -> None:
    """Counts new participants in the caller's transaction. Raises UsageLimitReached.

    Their mind is given, or that of the iteration or ask. A mind that calls no model may run when the model tokens of
    today are used up.
    """
    settings = call.service.settings
    dispatcher = quotas.lock_dispatcher(connection, call.workspace_id, iteration_id, ask_id)
    limits = Quotas(*(settings.value_in_force(dispatcher.workspace, name) for name in Quotas._fields))
    limit = "stored_bytes"
    try:
        quotas.check_stored_bytes(connection, call.workspace_id, limits.stored_bytes)
        limit = "model_tokens_per_day"
        if (mind or dispatcher.mind or "").partition(":")[0] in profiled_minds():
            quotas.check_model_tokens(connection, call.workspace_id, limits.model_tokens_per_day)
        limit = "participants_per_day"
        quotas.charge_participants(
            connection, call.workspace_id, participants, limits.participants_per_day, dispatcher.now
        )
    except UsageLimitReached:
        limit_metrics.refused_calls.labels(limit).inc()
        raise
