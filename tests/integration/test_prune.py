"""`understudy prune` removes old participants and keeps others, on both stores, also during extends."""

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, update

from tests.factories import StudyStore, make_ask
from tests.http_client import ApiClient
from tests.parameters import one_store
from tests.servers import wait_until
from understudy.deploy.prune import PruneJob, PruneReport, prune
from understudy.domain.errors import NotFound
from understudy.domain.simulation import Usage
from understudy.sequencer import assign_positions
from understudy.settings import Settings
from understudy.store import dispatch, lifecycle, stops
from understudy.store import prune as rules
from understudy.store.engine import Store, store_clock, store_time
from understudy.store.prune import KeepReason, RetentionFilter
from understudy.store.schema import Tables

_p = Tables.participant
DAY_S = 24 * 3600
USED = Usage(model="small", calls=1, input_tokens=900, output_tokens=40, seconds=0.5, cost=None)

#: Of the command.
OPTIONS: dict[str, Any] = {"older_than_days": 30, "batch_size": 2, "pause_s": 0}


class History(StudyStore):
    """A study whose participants ended long ago."""

    def ended(self, *, days: float, count: int = 1, steps: int = 2) -> list[UUID]:
        """Creates participants that completed `days` ago."""
        ids = self.participants(count)
        self.end(ids, days=days, steps=steps)
        return ids

    def end(self, ids: list[UUID], *, days: float, steps: int = 2) -> None:
        """Runs and completes them, and sets their times to `days` ago."""
        for id_ in ids:
            claim, start = self.must_claim(id_), self.row(id_).interaction_count
            for index in range(start, start + steps):
                assert self.commit(claim, index, usage=USED)
            assert self.write(lifecycle.complete, claim, None, 5)
        self.age(ids, days)

    def age(self, ids: list[UUID], days: float) -> None:
        """Sets when they were created, and when they ended, to `days` ago."""
        then, rows = store_clock(-days * DAY_S), update(_p).where(_p.c.id.in_(ids))
        self.write(Connection.execute, rows.values(created_at=then))
        self.write(Connection.execute, rows.where(_p.c.finished_at.is_not(None)).values(finished_at=then))

    def extended(self, source: UUID) -> UUID:
        """Extends it; the child."""
        return self.extend(source).id

    def expired(self, days: float = 30) -> RetentionFilter:
        return RetentionFilter(self.workspace_id, self.read(store_time, -days * DAY_S))

    def remove(self, ids: list[UUID]) -> Any:
        """Prunes `ids` by one transaction, whatever else has expired."""
        return self.write(rules.prune, self.expired(), ids, (), dry_run=False)

    def prune(self, *, dry: bool = False, batch_size: int = 100) -> PruneReport:
        """Prunes what ended more than 30 days ago, after all events got positions."""
        self.publish()
        report = PruneReport(self.expired().ended_before, dry)
        job = PruneJob(self.store, batch_size=batch_size, pause_s=0, dry=dry)
        job.run({self.workspace_id: "acme"}, report, lambda _: None)
        assert report.complete
        return report

    def publish(self) -> None:
        """Assigns positions to all events, the newest to a participant that ended just now."""
        assign_positions(self.store)
        self.ended(days=0, steps=0)
        assign_positions(self.store)

    def remaining(self, ids: list[UUID]) -> list[UUID]:
        found = {row.id for row in self.rows()}
        return [id_ for id_ in ids if id_ in found]

    def count_rows(self, ids: list[UUID]) -> int:
        """The rows of all tables that belong to these participants."""
        tables = (Tables.interaction, Tables.event, Tables.checkpoint, Tables.usage)
        counts = [select(func.count()).where(table.c.participant_id.in_(ids)) for table in tables]
        return sum(self.read(Connection.scalar, count) for count in counts)


@pytest.fixture
def history(store: Store) -> History:
    return History(store)


# -- what is removed ---------------------------------------------------------------------------------------


def test_prune_removes_expired_participants_with_their_rows(history: History) -> None:
    old, young = history.ended(days=31, count=5), history.ended(days=29, count=2)
    report = history.prune(batch_size=2)
    assert (history.remaining(old), history.remaining(young)) == ([], young)
    assert history.count_rows(old) == 0
    removed = {"participants": 5, "interactions": 10, "events": 5 * 5, "checkpoints": 5, "usage": 10}
    assert report.told()["removed"] == removed
    assert not report.kept


def test_dry_run_reports_the_same_and_changes_nothing(history: History) -> None:
    (source,) = history.ended(days=40)
    child = history.extended(source)
    history.end([child], days=35)
    _, rounds = make_ask(history.store, history.workspace_id)
    asked = [id_ for ids in rounds for id_ in ids]
    history.end(asked, days=33)
    ids = [source, child, *asked]
    before = history.count_rows(ids)
    dry = history.prune(dry=True, batch_size=1)
    assert (history.remaining(ids), history.count_rows(ids)) == (ids, before)
    assert dry.told()["removed"] == history.prune(batch_size=1).told()["removed"]
    assert history.remaining(ids) == []


def test_prune_of_a_workspace_changes_no_other(history: History) -> None:
    other = History(history.store, "other")
    mine, theirs = history.ended(days=40), other.ended(days=40)
    history.prune()
    assert (history.remaining(mine), history.remaining(theirs)) == ([], theirs)


# -- what is kept ------------------------------------------------------------------------------------------


def test_active_participants_are_kept(history: History) -> None:
    ids = history.participants(2)
    history.must_claim(ids[0])
    history.age(ids, 100)
    assert history.prune().rows["participant"] == 0
    assert history.remaining(ids) == ids


@pytest.mark.parametrize("batch_size", [1, 100])
def test_a_lineage_is_kept_until_its_last_participant_expires(history: History, batch_size: int) -> None:
    (first,) = history.ended(days=90)
    second = history.extended(first)
    history.end([second], days=80)
    third = history.extended(second)
    history.age([third], 70)
    (unrelated,) = history.ended(days=85)
    lineage = [first, second, third]
    report = history.prune(batch_size=batch_size)
    assert history.remaining([*lineage, unrelated]) == lineage
    assert report.kept == {KeepReason.EXTENDED: 2}
    history.end([third], days=31)
    history.prune(batch_size=batch_size)
    assert history.remaining(lineage) == []


def test_participant_is_kept_until_its_stop_is_recorded(history: History) -> None:
    (id_,) = history.participants()
    history.cancel(id_)
    history.age([id_], 90)
    assert history.prune().kept == {KeepReason.OWED: 1}
    assert history.write(stops.record_stop, id_)
    assert history.prune().rows["participant"] == 1


def test_participant_is_kept_until_its_events_have_positions(history: History) -> None:
    done = history.remove(history.ended(days=90))
    assert (done.removed, done.kept) == ([], {KeepReason.OWED: 1})


def test_positions_of_events_continue_after_a_prune_of_everything(history: History) -> None:
    ids = history.ended(days=90, count=3)
    assign_positions(history.store)
    done = history.remove(ids)
    assert (len(done.removed), done.kept) == (3, {})
    history.ended(days=0)
    assign_positions(history.store)
    with history.store.read() as connection:
        positions = connection.scalars(select(Tables.event.c.position).order_by("position")).all()
    assert positions[-1] == 3 * 5 + 5


def test_participants_of_an_ask_are_kept_until_all_have_expired(history: History) -> None:
    _, (first, second) = make_ask(history.store, history.workspace_id)
    history.end(first, days=90)
    history.end(second, days=29)
    assert history.prune(batch_size=1).kept == {KeepReason.ASKED: 2}
    assert history.remaining([*first, *second]) == [*first, *second]
    history.age(second, 31)
    history.prune(batch_size=1)
    assert history.remaining([*first, *second]) == []


def test_first_round_of_an_ask_is_kept_while_one_of_it_is_extended(history: History) -> None:
    _, (first,) = make_ask(history.store, history.workspace_id, rounds=1)
    history.end(first, days=90)
    history.extended(first[0])
    history.prune(batch_size=1)
    assert history.remaining(first) == first


# -- races -------------------------------------------------------------------------------------------------


def test_an_extend_and_a_prune_of_one_source_never_both_succeed(history: History) -> None:
    sources = history.ended(days=90, count=20, steps=1)
    history.publish()
    expired = history.expired()
    extended: list[UUID] = []
    removed: list[UUID] = []
    together = threading.Barrier(2)

    def extend_all() -> None:
        for source in sources:
            together.wait()
            extended.extend([source] if history.extend(source) else [])

    extending = threading.Thread(target=extend_all)
    extending.start()
    for source in sources:
        together.wait()
        removed += history.write(rules.prune, expired, [source], (), dry_run=False).removed
    extending.join()
    assert sorted([*extended, *removed]) == sorted(sources)
    assert history.remaining(sources) == extended


def test_an_extend_during_the_removal_of_its_source_finds_none(history: History) -> None:
    (source,) = history.ended(days=90)
    history.publish()
    expired, was_removed, children = history.expired(), threading.Event(), []

    def extend() -> None:
        was_removed.wait()
        children.append(history.extend(source))

    extending = threading.Thread(target=extend)
    extending.start()

    def remove(connection: Connection) -> None:
        assert rules.prune(connection, expired, [source], (), dry_run=False).removed == [source]
        was_removed.set()
        # The extend waits for the row, or will soon: the result is the same.
        extending.join(0.2)

    history.store.write(remove)
    extending.join()
    assert children == [None]


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_prune_does_not_wait_for_a_source_that_is_being_extended(history: History) -> None:
    """SQLite has one writer at a time."""
    (source,) = history.ended(days=90)
    history.publish()
    with history.store.engine.begin() as connection:
        assert dispatch.insert_branch(connection, history.workspace_id, source, 5, None)
        done = history.remove([source])
    assert (done.removed, done.kept) == ([], {KeepReason.BUSY: 1})


# -- the command -------------------------------------------------------------------------------------------


@one_store
def test_command_reports_what_it_removes(
    history: History, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    old = history.ended(days=40, count=3)
    history.publish()
    assert prune(settings, workspace="acme", dry=True, as_json=False, **OPTIONS) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "would remove 3 participants, 6 interactions, 15 events" in printed.err
    assert prune(settings, workspace=None, dry=False, as_json=True, **OPTIONS) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (printed.err, report["complete"], report["removed"]["participants"]) == ("", True, 3)
    assert set(report["kept"]) == set(KeepReason)
    assert history.remaining(old) == []


@one_store
def test_command_refuses_an_unknown_workspace_and_a_missing_or_empty_store(settings: Settings, tmp_path: Path) -> None:
    def refusal(workspace: str | None = None, database: Path | None = None) -> str:
        url = f"sqlite:///{database}" if database else settings.database_url
        here = settings.model_copy(update={"database_url": url})
        with pytest.raises(NotFound) as caught:
            prune(here, workspace=workspace, dry=False, as_json=False, **OPTIONS)
        return str(caught.value)

    assert "Workspace 'unknown' does not exist" in refusal("unknown")
    missing = tmp_path / "missing" / "store.db"
    assert re.search(r"The store \S+ does not exist", refusal(database=missing))
    assert not missing.parent.exists()
    (tmp_path / "empty.db").touch()
    assert "no tables" in refusal(database=tmp_path / "empty.db")


@one_store
def test_ctrl_c_ends_the_command_between_two_transactions(history: History, settings: Settings) -> None:
    old = history.ended(days=40, count=3)
    history.publish()
    # If the tests run in the background, SIGINT is ignored, and child processes inherit that.
    handler = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    arguments = ("prune", "--older-than", "30", "--batch-size", "1", "--pause-s", "60", "--json")
    command = [sys.executable, "-c", f"{handler}; from understudy.deploy.main import main; main()", *arguments]
    environment = os.environ | {"UNDERSTUDY_DATABASE_URL": settings.database_url}
    process = Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True)
    wait_until(lambda: len(history.remaining(old)) < 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    report = json.loads(out)
    assert (report["complete"], report["removed"]["participants"]) == (False, 1)
    assert len(history.remaining(old)) == 2


# -- the API after a prune ---------------------------------------------------------------------------------


@one_store
def test_removed_participants_are_not_found_and_their_ask_has_no_people_left(store: Store, acme: ApiClient) -> None:
    history = History(store)
    assert history.workspace_id == acme.workspace_id
    ask_id, (first,) = make_ask(store, acme.workspace_id, rounds=1)
    history.end(first, days=90)
    history.prune()
    assert acme.get(f"/v1/participants/{first[0]}").status_code == 404
    extended = acme.post(f"/v1/participants/{first[0]}/extend", {})
    assert (extended.status_code, extended.json()["error_code"]) == (404, "not_found")
    again = acme.post(f"/v1/asks/{ask_id}/rounds", {})
    assert (again.status_code, again.json()["error_code"]) == (422, "validation_error")
    assert "has no people left" in again.json()["error"]
