"""What a cancel means before anything is written: which scope was given, and who in it is to be cancelled."""

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
    """The one scope of a cancel, as given."""

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
    """The scope that was given; None counts as unset. Raises ScopeMissing, ScopeAmbiguous or ValidationError.

    Source: contract section 3. Nothing is read before this passes.
    """
    values = dict(zip(SCOPES, (participant_id, study_id, iteration_id, ask_id), strict=True))
    given = {name: ref for name, ref in values.items() if ref is not None}
    one_of = f"Give exactly one of {', '.join(SCOPES)}"
    if not given:
        raise ScopeMissing(f"{one_of}; none was given.")
    if len(given) > 1:
        raise ScopeAmbiguous(f"{one_of}; {' and '.join(given)} were given.")
    ((name, ref),) = given.items()
    if round_number is not None:
        if name != "ask_id":
            raise ValidationError(f"round goes with ask_id only, not with {name}.")
        if round_number < 1:
            raise ValidationError(f"round counts from 1; {round_number} was given.")
    return CancelScope(name, ref, round_number)


class Candidate(NamedTuple):
    """A participant in scope, as read."""

    id: UUID
    status: Status


class Skip(NamedTuple):
    id: UUID
    reason: str


class CancelPlan(NamedTuple):
    """Every participant in scope is in exactly one of the two."""

    cancel: list[UUID]
    skip: list[Skip]


ALREADY_TERMINAL = "already_terminal"
NOT_DISPATCHED = "not_dispatched"


def plan_cancellation(candidates: Iterable[Candidate]) -> CancelPlan:
    """Active ones are to be cancelled; the others are skipped, each with its reason."""
    plan = CancelPlan([], [])
    for candidate in candidates:
        if candidate.status in ACTIVE:
            plan.cancel.append(candidate.id)
        else:
            draft = candidate.status is Status.DRAFT
            plan.skip.append(Skip(candidate.id, NOT_DISPATCHED if draft else ALREADY_TERMINAL))
    return plan
