"""Making participants, aliases, owning messages, branching and reading lineages; both stores."""

import threading
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, update

from tests.factories import make_lease, make_participants, make_study, make_workspace
from tests.integration.test_store_lifecycle import at_once, make_step
from understudy.domain.errors import NotFound, ValidationError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.domain.people import generate_people
from understudy.store import dispatch, lifecycle, lineage, people
from understudy.store.aliases import assign_aliases, find
from understudy.store.engine import Store, store_clock, store_time
from understudy.store.guards import Claim
from understudy.store.schema import Tables

_p = Tables.participant


# -- aliases -----------------------------------------------------------------------------------------------


def test_the_later_alias_grows_a_digit_at_a_time(store: Store) -> None:
    workspace_id = make_workspace(store).workspace_id
    same = [UUID(f"abcdef{index}0-0000-4000-8000-00000000000{index}") for index in range(3)]
    aliases = store.write(lambda connection: assign_aliases(connection, workspace_id, Kind.STUDY, same))
    assert list(aliases.values()) == ["s-abc", "s-abcd", "s-abcde"]


def test_aliases_are_per_workspace(store: Store) -> None:
    everyone: dict[str, list[str]] = {}
    for name in ("one", "two"):
        workspace_id = make_workspace(store, name).workspace_id
        with store.read() as connection:
            everyone[name] = sorted(
                connection.scalars(select(Tables.person.c.alias).where(Tables.person.c.workspace_id == workspace_id))
            )
    # Of four, two may begin alike by chance, but not all of them in both.
    assert all(min(map(len, aliases)) == len("tp-abc") for aliases in everyone.values())


def test_another_workspaces_aliases_make_nobodys_grow(store: Store) -> None:
    """They would tell that somebody else has such a row."""
    one, two = (make_workspace(store, name).workspace_id for name in ("one", "two"))
    with store.read() as connection:
        (id_,) = connection.scalars(select(Tables.person.c.id).where(Tables.person.c.workspace_id == one).limit(1))
    same = UUID(id_.hex[:12] + "0" * 20)
    aliases = store.write(lambda connection: assign_aliases(connection, two, Kind.PERSON, [same]))
    assert aliases == {same: f"tp-{id_.hex[:3]}"}


def test_thousands_of_aliases_are_unique_and_short(store: Store) -> None:
    workspace_id = make_workspace(store).workspace_id
    store.write(lambda connection: people.insert_people(connection, workspace_id, generate_people(2_000, 2)))
    with store.read() as connection:
        aliases = connection.scalars(select(Tables.person.c.alias)).all()
    assert len(set(aliases)) == len(aliases) == 2_004
    assert max(map(len, aliases)) <= len("tp-") + 8


def test_two_who_choose_the_same_alias_both_get_one(store: Store) -> None:
    workspace_id = make_workspace(store).workspace_id
    study_id, (iteration_id,) = make_study(store, workspace_id)
    made = at_once(6, lambda: make_participants(store, workspace_id, study_id, iteration_id, 100))
    with store.read() as connection:
        aliases = connection.scalars(select(_p.c.alias)).all()
    assert len(set(aliases)) == sum(map(len, made)) == 600


def test_what_is_another_workspaces_is_told_like_what_does_not_exist(store: Store) -> None:
    mine, other = make_workspace(store, "mine"), make_workspace(store, "other")
    study_id, _ = make_study(store, other.workspace_id)
    unknown = "00000000-0000-4000-8000-000000000000"
    told = []
    for ref in (str(study_id), unknown):
        with store.read() as connection, pytest.raises(NotFound) as caught:
            find(connection, mine.workspace_id, Kind.STUDY, ref, "study_id")
        told.append((str(caught.value).replace(ref, ""), caught.value.suggestions))
    assert told[0] == told[1]


# -- messages ----------------------------------------------------------------------------------------------


class Setting:
    """A workspace with a study, and pending participants that nobody dispatched yet."""

    def __init__(self, store: Store, count: int = 1, max_interactions: int = 5) -> None:
        self.store = store
        self.workspace_id = make_workspace(store).workspace_id
        self.study_id, (self.iteration_id,) = make_study(store, self.workspace_id)
        self.ids = make_participants(
            store,
            self.workspace_id,
            self.study_id,
            self.iteration_id,
            count,
            max_interactions=max_interactions,
        )

    def own(self, republish_after_s: float | None = None) -> list[dispatch.RunMessage]:
        def own(connection: Connection) -> list[dispatch.RunMessage]:
            before = None if republish_after_s is None else store_time(connection, -republish_after_s)
            return dispatch.reserve_messages(connection, self.ids, republish_before=before)

        return self.store.write(own)

    def row(self, id_: UUID) -> Any:
        with self.store.read() as connection:
            return connection.execute(select(_p).where(_p.c.id == id_)).one()

    def walk(self, id_: UUID, steps: int) -> None:
        """Claim, commit so many interactions, and cancel."""
        worker_id = make_lease(self.store)

        def work(connection: Connection) -> None:
            row = lifecycle.claim(connection, id_, worker_id)
            assert row is not None
            start = row.interaction_count
            for index in range(start, start + steps):
                step = make_step(index, state={"memory": {}, "environment": {"of": str(id_), "page": index}})
                assert lifecycle.commit_step(connection, Claim(id_, row.epoch), step, 1)
            lifecycle.cancel(connection, self.workspace_id, [id_])

        self.store.write(work)

    def branch(self, id_: UUID, steps: int = 10, instruction: str | None = None) -> Any:
        return self.store.write(
            lambda connection: dispatch.insert_branch(connection, self.workspace_id, id_, steps, instruction)
        )


def test_a_message_is_owned_once(store: Store) -> None:
    setting = Setting(store, 50)
    owned = at_once(4, setting.own)
    ids = [message.participant_id for messages in owned for message in messages]
    assert sorted(ids) == sorted(setting.ids)
    assert setting.own() == []


def test_a_message_tells_people_who_is_meant(store: Store) -> None:
    setting = Setting(store)
    (message,) = setting.own()
    assert message.task_id == f"{setting.ids[0]}.1"
    with store.read() as connection:
        study = connection.scalar(select(Tables.study.c.alias))
    assert message.description == f"participant={setting.row(setting.ids[0]).alias} study={study}"


def test_what_could_not_be_sent_is_owed_again(store: Store) -> None:
    setting = Setting(store)
    first = setting.own()
    store.write(lambda connection: dispatch.unreserve_messages(connection, first))
    (second,) = setting.own()
    assert second.dispatch_no == 2
    # Somebody sent a later one: the earlier one is not owed any more.
    store.write(lambda connection: dispatch.unreserve_messages(connection, first))
    assert setting.own() == []


def test_an_overdue_message_is_owned_again(store: Store) -> None:
    setting = Setting(store)
    setting.own()
    assert setting.own(republish_after_s=60) == []
    store.write(lambda connection: connection.execute(update(_p).values(dispatched_at=store_clock(-61))))
    (again,) = setting.own(republish_after_s=60)
    assert again.task_id.endswith(".2")


def test_messages_of_what_is_not_pending_are_void(store: Store) -> None:
    setting = Setting(store)
    setting.walk(setting.ids[0], 1)
    assert setting.own() == []


# -- branches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.DRAFT])
def test_only_a_terminal_source_has_a_child(store: Store, status: Status) -> None:
    setting = Setting(store)
    store.write(lambda connection: connection.execute(update(_p).values(status=str(status), worker_id=None)))
    assert setting.branch(setting.ids[0]) is None
    with store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(_p)) == 1
    store.write(lambda connection: connection.execute(update(_p).values(status=str(Status.PENDING))))


def test_a_child_points_at_its_source_and_changes_nothing_of_it(store: Store) -> None:
    setting = Setting(store, max_interactions=20)
    source_id = setting.ids[0]
    setting.walk(source_id, 3)
    before = setting.row(source_id)
    child = setting.branch(source_id, 10, "Look for red ones")
    assert setting.row(source_id) == before
    assert (child.status, child.extended_from, child.branched_at, child.interaction_count) == (
        "pending",
        source_id,
        3,
        3,
    )
    assert child.max_interactions == 30
    assert child.person_id == before.person_id
    assert child.instruction == "Look for red ones"


def test_a_branch_keeps_to_its_workspace(store: Store) -> None:
    setting = Setting(store)
    setting.walk(setting.ids[0], 1)
    other = make_workspace(store, "other").workspace_id
    made = store.write(lambda connection: dispatch.insert_branch(connection, other, setting.ids[0], 1, None))
    assert made is None


def test_cancel_against_extend_has_one_order(store: Store) -> None:
    """A child exists only of what was terminal before it."""
    setting = Setting(store)
    children: list[Any] = []

    def extend() -> None:
        children.append(setting.branch(setting.ids[0]))

    def cancel() -> None:
        store.write(lambda connection: lifecycle.cancel(connection, setting.workspace_id, setting.ids))

    threads = [threading.Thread(target=work) for work in (extend, cancel, extend)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(child is None or child.extended_from == setting.ids[0] for child in children)


def test_a_lineage_is_read_without_copies(store: Store) -> None:
    setting = Setting(store, max_interactions=20)
    root = setting.ids[0]
    setting.walk(root, 3)
    child = setting.branch(root, 10, "first").id
    setting.walk(child, 2)
    grandchild = setting.branch(child, 10, None).id
    sibling = setting.branch(root, 10, "other").id
    with store.read() as connection:
        rows = lineage.interactions(connection, grandchild, limit=100)
        assert [(row.ordinal, row.participant_id) for row in rows] == [
            *((index, root) for index in range(3)),
            *((index, child) for index in (3, 4)),
        ]
        assert [row.ordinal for row in lineage.interactions(connection, child, own=True, limit=100)] == [3, 4]
        paged = lineage.interactions(connection, grandchild, after=1, limit=2)
        assert [row.ordinal for row in paged] == [2, 3]
        assert [row.ordinal for row in lineage.latest_interactions(connection, grandchild, 2)] == [3, 4]
        # The nearest state: the grandchild has none of its own yet, its source has.
        state = lineage.load_checkpoint(connection, grandchild)
        assert state is not None
        assert state["environment"] == {"of": str(child), "page": 4}
        of_sibling = lineage.load_checkpoint(connection, sibling)
        assert of_sibling is not None
        assert of_sibling["environment"] == {"of": str(root), "page": 2}
        assert lineage.instructions(connection, grandchild) == [(3, "first")]
        assert lineage.instructions(connection, sibling) == [(3, "other")]


def test_a_source_without_interactions_starts_at_nothing(store: Store) -> None:
    setting = Setting(store)
    store.write(lambda connection: lifecycle.cancel(connection, setting.workspace_id, setting.ids))
    child = setting.branch(setting.ids[0])
    assert (child.branched_at, child.interaction_count) == (0, 0)
    with store.read() as connection:
        assert lineage.load_checkpoint(connection, child.id) is None


# -- people ------------------------------------------------------------------------------------------------


def test_a_sample_is_of_different_people_and_reproducible(store: Store) -> None:
    workspace_id = make_workspace(store).workspace_id
    with store.read() as connection:
        one = people.sample_people(connection, workspace_id, 3, 7)
        two = people.sample_people(connection, workspace_id, 3, 7)
    assert one == two
    assert len(set(one)) == 3


def test_more_people_than_there_are_names_how_many(store: Store) -> None:
    workspace_id = make_workspace(store).workspace_id
    with store.read() as connection, pytest.raises(ValidationError, match="has 4 people"):
        people.sample_people(connection, workspace_id, 5, 7)
