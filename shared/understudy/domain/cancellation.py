"""Plans a cancel before anything is written: its scope, and which participants in it to cancel."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from understudy.domain.errors import ValidationError
from understudy.domain.lifecycle import ACTIVE, Status

SCOPES = ("participant_id", "study_id", "iteration_id", "ask_id")


class ScopeMissing(ValidationError):
    """None of the four scopes was given."""


class ScopeAmbiguous(ValidationError):
    """More than one scope was given."""


class CancelScope(NamedTuple):
    """The one scope of a cancel, as passed."""

    parameter: str
    ref: str
    round: int | None


def parse_scope(
    *,
    participant_id: str | None = None,
    study_id: str | None = None,
    iteration_id: str | None = None,
    ask_id: str | None = None,
    round_number: int | None = None,
) -> CancelScope:
    """Returns the passed scope; None counts as unset. Raises ScopeMissing, ScopeAmbiguous or ValidationError.

    Source: contract section 3. The caller reads no row before this passes.
    """
    values = dict(zip(SCOPES, (participant_id, study_id, iteration_id, ask_id), strict=True))
    scopes = {name: ref for name, ref in values.items() if ref is not None}
    one_of = f"Give exactly one of {', '.join(SCOPES)}"
    if not scopes:
        raise ScopeMissing(f"{one_of}; none was given.")
    if len(scopes) > 1:
        raise ScopeAmbiguous(f"{one_of}; {' and '.join(scopes)} were given.")
    ((name, ref),) = scopes.items()
    if round_number is not None:
        if name != "ask_id":
            raise ValidationError(f"round requires ask_id; {name} was given.")
        if round_number < 1:
            raise ValidationError(f"round must be 1 or more; {round_number} was given.")
    return CancelScope(name, ref, round_number)


class Candidate(NamedTuple):
    """A participant in scope, as read from the store."""

    id: UUID
    status: Status


class Skip(NamedTuple):
    id: UUID
    reason: str


class CancelPlan(NamedTuple):
    """Each participant in scope is in exactly one of the two lists."""

    cancel: list[UUID]
    skip: list[Skip]


ALREADY_TERMINAL = "already_terminal"
NOT_DISPATCHED = "not_dispatched"


def plan_cancellation(candidates: Iterable[Candidate]) -> CancelPlan:
    """Returns the active participants to cancel, and the others, each with its skip reason."""
    plan = CancelPlan([], [])
    for candidate in candidates:
        if candidate.status in ACTIVE:
            plan.cancel.append(candidate.id)
        else:
            is_draft = candidate.status is Status.DRAFT
            plan.skip.append(Skip(candidate.id, NOT_DISPATCHED if is_draft else ALREADY_TERMINAL))
    return plan
