"""What `understudy prune` removes and what it keeps, on both stores, also while somebody extends."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from tests.factories import make_ask, make_lease, make_participants, make_study, make_workspace
from tests.http_client import ApiClient
from tests.integration.test_store_lifecycle import make_step
from tests.servers import wait_until
from understudy.deploy.prune import PruneJob, PruneReport, prune
from understudy.domain.errors import NotFound
from understudy.domain.simulation import Usage
from understudy.sequencer import assign_positions
from understudy.settings import Settings
from understudy.store import dispatch, lifecycle, stops
from understudy.store import prune as rules
from understudy.store.engine import Store, store_clock, store_time
from understudy.store.guards import Claim
from understudy.store.prune import KeepReason, RetentionFilter
from understudy.store.schema import Tables

_p = Tables.participant
DAY_S = 24 * 3600
USED = Usage(model="small", calls=1, input_tokens=900, output_tokens=40, seconds=0.5, cost=None)


class History(NamedTuple):
    """A store in which people ended long ago."""

    store: Store
    workspace_id: UUID
    study_id: UUID
    iteration_id: UUID
    worker_id: UUID

    def ended(self, *, days: float, count: int = 1, steps: int = 2) -> list[UUID]:
        ids = make_participants(self.store, self.workspace_id, self.study_id, self.iteration_id, count)
        self.end(ids, days=days, steps=steps)
        return ids

    def end(self, ids: list[UUID], *, days: float, steps: int = 2) -> None:
        """Have them walk and complete, and make it so long ago."""

        def go(connection: Any) -> None:
            for row in lifecycle.claim_all(connection, ids, self.worker_id).values():
                claim = Claim(row.id, row.epoch)
                for index in range(row.interaction_count, row.interaction_count + steps):
                    assert lifecycle.commit_step(connection, claim, make_step(index, usage=USED), 5)
                assert lifecycle.complete(connection, claim, None, 5)

        self.store.write(go)
        self.age(ids, days)

    def age(self, ids: list[UUID], days: float) -> None:
        """They were made, and ended if they did, so long ago."""
        then = {"created_at": store_clock(-days * DAY_S)}
        ended = {"finished_at": store_clock(-days * DAY_S)}
        among = _p.c.id.in_(ids)
        self.store.write(lambda c: c.execute(update(_p).where(among).values(then)))
        self.store.write(lambda c: c.execute(update(_p).where(among, _p.c.finished_at.is_not(None)).values(ended)))

    def extend(self, source: UUID) -> UUID | None:
        row = self.store.write(lambda c: dispatch.insert_branch(c, self.workspace_id, source, 5, None))
        return row and row.id

    def old(self, days: float = 30) -> RetentionFilter:
        with self.store.read() as connection:
            return RetentionFilter(self.workspace_id, store_time(connection, -days * DAY_S))

    def prune(self, *, dry: bool = False, batch_size: int = 100) -> PruneReport:
        """Whatever ended more than 30 days ago, with everything published before."""
        self.publish()
        tally = PruneReport(self.old().ended_before, dry)
        pruning = PruneJob(self.store, batch_size=batch_size, pause_s=0, dry=dry)
        pruning.run({self.workspace_id: "acme"}, tally, lambda _: None)
        assert tally.complete
        return tally

    def publish(self) -> None:
        """Give all events positions, the newest to somebody who ended just now."""
        assign_positions(self.store)
        self.ended(days=0, steps=0)
        assign_positions(self.store)

    def there(self, ids: list[UUID]) -> list[UUID]:
        with self.store.read() as connection:
            found = set(connection.scalars(select(_p.c.id).where(_p.c.id.in_(ids))))
        return [id_ for id_ in ids if id_ in found]


@pytest.fixture
def history(store: Store) -> History:
    workspace_id = make_workspace(store).workspace_id
    study_id, (iteration_id,) = make_study(store, workspace_id)
    return History(store, workspace_id, study_id, iteration_id, make_lease(store))


def rows_of(store: Store, ids: list[UUID]) -> int:
    """Rows of all tables that belong to these participants."""
    tables = (Tables.interaction, Tables.event, Tables.checkpoint, Tables.usage)
    with store.read() as connection:
        return sum(
            connection.scalar(select(func.count()).where(table.c.participant_id.in_(ids))) or 0 for table in tables
        )


# -- who goes ----------------------------------------------------------------------------------------------


def test_who_ended_long_ago_goes_with_all_that_is_its_own(history: History) -> None:
    old, young = history.ended(days=31, count=5), history.ended(days=29, count=2)
    tally = history.prune(batch_size=2)
    assert (history.there(old), history.there(young)) == ([], young)
    assert rows_of(history.store, old) == 0
    assert tally.told()["removed"] == {
        "participants": 5,
        "interactions": 10,
        "events": 5 * 5,
        "checkpoints": 5,
        "usage": 10,
    }
    assert not tally.kept


def test_a_dry_run_tells_the_same_and_changes_nothing(history: History) -> None:
    (source,) = history.ended(days=40)
    child = history.extend(source)
    assert child is not None
    history.end([child], days=35)
    _, rounds = make_ask(history.store, history.workspace_id)
    asked = [id_ for ids in rounds for id_ in ids]
    history.end(asked, days=33)
    before = rows_of(history.store, [source, child, *asked])
    dry = history.prune(dry=True, batch_size=1)
    assert history.there([source, child, *asked]) == [source, child, *asked]
    assert rows_of(history.store, [source, child, *asked]) == before
    assert dry.told()["removed"] == history.prune(batch_size=1).told()["removed"]
    assert history.there([source, child, *asked]) == []


def test_other_workspaces_are_left_alone(history: History) -> None:
    (mine,) = history.ended(days=40)
    rival = make_workspace(history.store, "rival").workspace_id
    study_id, (iteration_id,) = make_study(history.store, rival)
    other = history._replace(workspace_id=rival, study_id=study_id, iteration_id=iteration_id)
    (theirs,) = other.ended(days=40)
    history.prune()
    assert (history.there([mine]), other.there([theirs])) == ([], [theirs])


# -- who stays ---------------------------------------------------------------------------------------------


def test_whoever_is_active_stays_however_old(history: History) -> None:
    ids = make_participants(history.store, history.workspace_id, history.study_id, history.iteration_id, 2)
    history.store.write(lambda c: lifecycle.claim(c, ids[0], history.worker_id))
    history.age(ids, 100)
    assert history.prune().rows["participant"] == 0
    assert history.there(ids) == ids


@pytest.mark.parametrize("batch_size", [1, 100])
def test_a_lineage_stays_down_to_its_first_as_long_as_its_last_does(history: History, batch_size: int) -> None:
    (first,) = history.ended(days=90)
    second = history.extend(first)
    assert second is not None
    history.end([second], days=80)
    third = history.extend(second)
    assert third is not None
    history.age([third], 70)
    (aside,) = history.ended(days=85)
    tally = history.prune(batch_size=batch_size)
    assert history.there([first, second, third, aside]) == [first, second, third]
    assert tally.kept == {KeepReason.EXTENDED: 2}
    history.end([third], days=31)
    history.prune(batch_size=batch_size)
    assert history.there([first, second, third]) == []


def test_a_stop_that_nobody_recorded_keeps_its_participant(history: History) -> None:
    (id_,) = make_participants(history.store, history.workspace_id, history.study_id, history.iteration_id)
    history.store.write(lambda c: lifecycle.cancel(c, history.workspace_id, [id_]))
    history.age([id_], 90)
    assert history.prune().kept == {KeepReason.OWED: 1}
    assert history.store.write(lambda c: stops.record_stop(c, id_))
    assert history.prune().rows["participant"] == 1


def test_an_event_without_a_position_keeps_its_participant(history: History) -> None:
    (id_,) = history.ended(days=90)
    done = history.store.write(lambda c: rules.prune(c, history.old(), [id_], (), dry_run=False))
    assert (done.removed, done.kept) == ([], {KeepReason.OWED: 1})


def test_positions_of_events_count_on_after_everything_was_pruned(history: History) -> None:
    ids = history.ended(days=90, count=3)
    assign_positions(history.store)
    old = history.old()
    done = history.store.write(lambda c: rules.prune(c, old, ids, (), dry_run=False))
    assert (len(done.removed), done.kept) == (2, {KeepReason.NEWEST: 1})
    history.ended(days=0)
    assign_positions(history.store)
    with history.store.read() as connection:
        positions = connection.scalars(select(Tables.event.c.position).order_by("position")).all()
    assert positions[-1] == 3 * 5 + 5


def test_the_people_of_an_ask_stay_until_all_of_it_may_go(history: History) -> None:
    _, (first, second) = make_ask(history.store, history.workspace_id)
    history.end(first, days=90)
    history.end(second, days=29)
    assert history.prune(batch_size=1).kept == {KeepReason.ASKED: 2}
    assert history.there([*first, *second]) == [*first, *second]
    history.age(second, 31)
    history.prune(batch_size=1)
    assert history.there([*first, *second]) == []


def test_nobody_of_a_first_round_goes_while_one_of_it_is_extended(history: History) -> None:
    _, (first,) = make_ask(history.store, history.workspace_id, rounds=1)
    history.end(first, days=90)
    assert history.extend(first[0])
    history.prune(batch_size=1)
    assert history.there(first) == first


# -- races -------------------------------------------------------------------------------------------------


def test_an_extend_and_a_prune_of_one_source_never_both_succeed(history: History) -> None:
    sources = history.ended(days=90, count=20, steps=1)
    history.publish()
    old, made, removed = history.old(), [], []
    together = threading.Barrier(2)

    def extend_all() -> None:
        for source in sources:
            together.wait()
            made.extend([source] if history.extend(source) else [])

    extending = threading.Thread(target=extend_all)
    extending.start()
    for source in sources:
        together.wait()
        done = history.store.write(lambda c, id_=source: rules.prune(c, old, [id_], (), dry_run=False))
        removed.extend(done.removed)
    extending.join()
    assert sorted([*made, *removed]) == sorted(sources)
    assert history.there(sources) == [id_ for id_ in sources if id_ in made]


def test_an_extend_that_comes_while_its_source_is_being_removed_finds_none(history: History) -> None:
    (source,) = history.ended(days=90)
    history.publish()
    old, removed_it, answers = history.old(), threading.Event(), []

    def extend() -> None:
        removed_it.wait()
        answers.append(history.extend(source))

    extending = threading.Thread(target=extend)
    extending.start()

    def remove(connection: Any) -> None:
        assert rules.prune(connection, old, [source], (), dry_run=False).removed == [source]
        removed_it.set()
        # It is at the row, or about to be: it must answer the same.
        extending.join(0.2)

    history.store.write(remove)
    extending.join()
    assert answers == [None]


def test_a_source_that_is_being_extended_is_not_waited_for(history: History) -> None:
    if history.store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    (source,) = history.ended(days=90)
    history.publish()
    with history.store.engine.begin() as connection:
        assert dispatch.insert_branch(connection, history.workspace_id, source, 5, None)
        old = history.old()
        done = history.store.write(lambda c: rules.prune(c, old, [source], (), dry_run=False))
    assert (done.removed, done.kept) == ([], {KeepReason.BUSY: 1})


# -- the command -------------------------------------------------------------------------------------------


def test_the_command_tells_what_it_did(
    history: History, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    old = history.ended(days=40, count=3)
    history.publish()
    options: dict[str, Any] = {"older_than_days": 30, "batch_size": 2, "pause_s": 0}
    assert prune(settings, workspace="acme", dry=True, as_json=False, **options) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "would remove 3 participants, 6 interactions, 15 events" in told.err
    assert prune(settings, workspace=None, dry=False, as_json=True, **options) == 0
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert (told.err, answer["complete"], answer["removed"]["participants"]) == ("", True, 3)
    assert set(answer["kept"]) == set(KeepReason)
    assert history.there(old) == []


def test_a_workspace_or_store_that_is_not_there_is_an_error(settings: Settings, tmp_path: Path) -> None:
    options: dict[str, Any] = {"older_than_days": 30, "batch_size": 2, "pause_s": 0, "dry": False}
    with pytest.raises(NotFound, match="Workspace 'nobody' does not exist"):
        prune(settings, workspace="nobody", as_json=False, **options)
    missing = tmp_path / "missing" / "store.db"
    elsewhere = settings.model_copy(update={"database_url": f"sqlite:///{missing}"})
    with pytest.raises(NotFound, match=r"The store \S+ does not exist"):
        prune(elsewhere, workspace=None, as_json=False, **options)
    assert not missing.parent.exists()
    (tmp_path / "empty.db").touch()
    empty = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/empty.db"})
    with pytest.raises(NotFound, match="no tables"):
        prune(empty, workspace=None, as_json=False, **options)


def test_ctrl_c_ends_it_between_two_transactions(history: History, settings: Settings) -> None:
    old = history.ended(days=40, count=3)
    history.publish()
    # Where the tests themselves run in the background, SIGINT is ignored, and children inherit that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    arguments = ("prune", "--older-than", "30", "--batch-size", "1", "--pause-s", "60", "--json")
    process = subprocess.Popen(
        [sys.executable, "-c", f"{heed}; from understudy.deploy.main import main; main()", *arguments],
        env=os.environ | {"UNDERSTUDY_DATABASE_URL": settings.database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(history.there(old)) < 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    answer = json.loads(out)
    assert (answer["complete"], answer["removed"]["participants"]) == (False, 1)
    assert len(history.there(old)) == 2


# -- what callers see --------------------------------------------------------------------------------------


def test_what_was_removed_is_not_found_and_an_emptied_ask_asks_nobody(store: Store, acme: ApiClient) -> None:
    ask_id, (first,) = make_ask(store, acme.workspace_id, rounds=1)
    world = History(store, acme.workspace_id, uuid4(), uuid4(), make_lease(store))
    world.end(first, days=90)
    study_id, (iteration_id,) = make_study(store, acme.workspace_id)
    world._replace(study_id=study_id, iteration_id=iteration_id).prune()
    assert acme.get(f"/v1/participants/{first[0]}").status_code == 404
    extended = acme.post(f"/v1/participants/{first[0]}/extend", {})
    assert (extended.status_code, extended.json()["error_code"]) == (404, "not_found")
    again = acme.post(f"/v1/asks/{ask_id}/rounds", {})
    assert (again.status_code, again.json()["error_code"]) == (422, "validation_error")
    assert "has no people left" in again.json()["error"]
