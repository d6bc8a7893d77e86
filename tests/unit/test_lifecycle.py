"""The table of moves, held against the contract's words."""

from understudy.domain.lifecycle import ACTIVE, TERMINAL, TRANSITIONS, Status, TransitionKind


def test_statuses_are_those_of_the_contract() -> None:
    assert [*Status] == ["draft", "pending", "running", "completed", "failed", "cancelled"]


def test_moves_are_those_of_the_contract() -> None:
    moves = {(source, target) for sources, target in TRANSITIONS.values() for source in sources}
    assert moves == {
        ("pending", "running"),
        ("running", "completed"),
        ("running", "failed"),
        ("running", "pending"),
        ("pending", "cancelled"),
        ("running", "cancelled"),
    }


def test_nothing_leaves_a_terminal_status() -> None:
    assert frozenset({"completed", "failed", "cancelled"}) == TERMINAL


def test_active_is_pending_or_running() -> None:
    assert frozenset({"pending", "running"}) == ACTIVE


def test_every_move_has_its_transition() -> None:
    assert set(TRANSITIONS) == set(TransitionKind)
