"""Fault points within a transaction, and threads that pause there."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.factories import StudyStore
from tests.servers import wait_until
from understudy import faults
from understudy.faults import InjectedFault
from understudy.store.engine import Store


@pytest.fixture
def study(store: Store) -> Iterator[StudyStore]:
    made = StudyStore(store)
    assert made.row().status == "pending"
    yield made
    faults.arm("")


def cancel_at_site(study: StudyStore) -> None:
    with faults.fault_site("cancel.commit"):
        study.cancel()


def test_fault_within_a_site_raises_undoes_the_transaction(study: StudyStore) -> None:
    before = study.row()
    faults.arm("cancel.commit.within=raise")
    with pytest.raises(InjectedFault, match="cancel"):
        cancel_at_site(study)
    assert study.row() == before


def test_fault_within_a_site_other_writes_do_not_reach_it(study: StudyStore) -> None:
    faults.arm("extend.commit.within=raise,cancel.commit.within=raise@2")
    cancel_at_site(study)
    study.cancel()
    with pytest.raises(InjectedFault):
        cancel_at_site(study)


def test_paused_write_its_file_is_deleted_commits_then(study: StudyStore, tmp_path: Path) -> None:
    paused = tmp_path / "paused"
    faults.arm(f"cancel.commit.within=pause:{paused}")
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(cancel_at_site, study)
        wait_until(paused.exists)
        assert (study.row().status, done.done()) == ("pending", False)
        paused.unlink()
        done.result()
    assert study.row().status == "cancelled"


def test_paused_write_nothing_resumes_it_fails(
    study: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "MAX_PAUSE_S", 0)
    before = study.row()
    faults.arm(f"cancel.commit.within=pause:{tmp_path / 'paused'}")
    with pytest.raises(InjectedFault, match="nothing deleted"):
        cancel_at_site(study)
    assert study.row() == before


@pytest.mark.parametrize(
    "fault",
    ["cancel.commit", "cancel.commit.within=stop", "cancel.commit.within=pause", "cancel.commit.within=kill:file"],
)
def test_parse_unknown_fault_raises_value_error(fault: str) -> None:
    with pytest.raises(ValueError, match="unknown fault"):
        faults.parse(fault)


def test_parse_point_within_messages_raises_value_error() -> None:
    with pytest.raises(ValueError, match="unknown fault"):
        faults.parse("abort.send.within=raise")
