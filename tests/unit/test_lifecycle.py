"""The table of transitions against the contract's words. Contract section 2."""

from understudy.domain.lifecycle import ACTIVE, TERMINAL, TRANSITIONS, Status, TransitionKind


def test_statuses_and_transitions_are_those_of_the_contract() -> None:
    assert [*Status] == ["draft", "pending", "running", "completed", "failed", "cancelled"]
    assert frozenset({"completed", "failed", "cancelled"}) == TERMINAL
    assert frozenset({"pending", "running"}) == ACTIVE
    assert set(TRANSITIONS) == set(TransitionKind)
    assert {(source, target) for sources, target in TRANSITIONS.values() for source in sources} == {
        *(("pending", "running"), ("pending", "cancelled"), ("running", "completed"), ("running", "failed")),
        *(("running", "pending"), ("running", "cancelled")),
    }
