"""Which scope is meant, and who in it is cancelled or skipped. Contract section 3."""

from uuid import uuid4

import pytest

from understudy.domain.cancellation import Candidate, ScopeAmbiguous, ScopeMissing, parse_scope, plan_cancellation
from understudy.domain.errors import ValidationError
from understudy.domain.lifecycle import Status


def test_one_scope_is_taken() -> None:
    assert parse_scope(ask_id="a-123", round_number=2) == ("ask_id", "a-123", 2)


def test_no_scope() -> None:
    with pytest.raises(ScopeMissing, match="none was given"):
        parse_scope()


def test_several_scopes_are_named() -> None:
    with pytest.raises(ScopeAmbiguous, match="study_id and ask_id"):
        parse_scope(study_id="s-123", ask_id="a-123")


@pytest.mark.parametrize(("scope", "number"), [("study_id", 1), ("ask_id", 0), ("ask_id", -1)])
def test_round_goes_with_an_ask_and_counts_from_one(scope: str, number: int) -> None:
    with pytest.raises(ValidationError, match="round"):
        parse_scope(**{scope: "x"}, round_number=number)


def test_everybody_in_scope_is_in_exactly_one_list() -> None:
    everyone = [Candidate(uuid4(), status) for status in Status]
    plan = plan_cancellation(everyone)
    assert plan.cancel == [one.id for one in everyone if one.status in {"pending", "running"}]
    reasons = {skip.id: skip.reason for skip in plan.skip}
    assert reasons == {
        one.id: "not_dispatched" if one.status == "draft" else "already_terminal"
        for one in everyone
        if one.id not in plan.cancel
    }
