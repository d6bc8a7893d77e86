"""Fair shares with real processes: a second workspace beside the backlog of the first one.

`UNDERSTUDY_TEST_BACKLOG=10000 UNDERSTUDY_TEST_SECONDS=60 pytest --junitxml FILE` measures at full size.
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, update

from tests.e2e.participants import dispatch_participants
from tests.factories import StudyStore, make_participants, make_study, make_workspace
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.domain.fair_shares import LATE_S
from understudy.domain.lifecycle import Outcome
from understudy.store import dispatch
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant

SLOTS = 20
#: Of the first workspace; each of its steps takes half a second.
BACKLOG = int(os.environ.get("UNDERSTUDY_TEST_BACKLOG", "2000"))
#: For which slots are counted.
SECONDS = float(os.environ.get("UNDERSTUDY_TEST_SECONDS", "4"))
STEP_S = 0.5


def running(store: Store) -> Counter[UUID]:
    """Returns the number of runs of each workspace."""
    with store.read() as connection:
        statement = select(_p.c.workspace_id, func.count()).where(_p.c.status == "running").group_by(_p.c.workspace_id)
        return Counter({row[0]: row[1] for row in connection.execute(statement)})


def make_backlog(
    store: Store, name: str = "crowd", weight: float = 1, count: int = BACKLOG, delay_s: float = STEP_S
) -> UUID:
    """Creates a workspace of this weight with unpublished participants."""
    workspace_id = make_workspace(store, name).workspace_id
    own = update(Tables.workspace).where(Tables.workspace.c.id == workspace_id).values(weight=weight)
    store.write(lambda connection: connection.execute(own))
    study_id, (iteration_id,) = make_study(store, workspace_id, content={"delay_s": delay_s})
    make_participants(store, workspace_id, study_id, iteration_id, count, max_interactions=20)
    return workspace_id


def make_extended_backlog(store: Store) -> UUID:
    """Creates a workspace that has extended one run as often, unpublished."""
    crowd = StudyStore(store, "crowd", content={"delay_s": STEP_S})
    state = {"memory": {}, "environment": {"page": 1, "visited": [1]}}
    assert crowd.commit(crowd.must_claim(), ends=True, outcome=Outcome.SUCCEEDED, state=state)
    crowd.expire_lease()

    def extend(connection: Connection, times: int) -> None:
        for _ in range(times):
            dispatch.insert_branch(connection, crowd.workspace_id, crowd.id_, 20, None)

    for _ in range(BACKLOG // 100):
        crowd.write(extend, 100)
    return crowd.workspace_id


def first_interaction_after_s(store: Store, id_: str) -> float:
    """Waits until a participant has an interaction; returns the seconds from its creation until then."""
    interaction, participant = Tables.event, UUID(id_)

    def taken() -> float | None:
        with store.read() as connection:
            created = connection.scalar(select(_p.c.created_at).where(_p.c.id == participant))
            at = connection.scalar(
                select(func.min(interaction.c.at)).where(
                    interaction.c.participant_id == participant, interaction.c.kind == "interaction"
                )
            )
        return None if at is None or created is None else (at - created).total_seconds()

    return wait_until(taken, 30) or 0


@pytest.mark.parametrize("make", [make_backlog, make_extended_backlog], ids=["dispatched", "extended"])
def test_participant_of_a_second_workspace_starts_beside_the_backlog_of_the_first(
    store: Store,
    acme: ApiClient,
    fleet: Fleet,
    make: Callable[[Store], UUID],
    record_property: Callable[[str, object], None],
) -> None:
    first = make(store)
    fleet.start("run-1", "control", "sweeper", concurrency=SLOTS)
    wait_until(lambda: running(store)[first] == SLOTS)
    study, _ = make_study(store, acme.workspace_id)
    (id_,) = dispatch_participants(acme, study, 1)
    # Without shares it would wait for minutes; two seconds is the goal on a machine with nothing else to do.
    after_s = first_interaction_after_s(store, id_)
    record_property("first interaction after s", after_s)
    assert after_s < 10
    with store.read() as connection:
        preempted = connection.scalars(select(_p.c.workspace_id).where(_p.c.preempted_at.is_not(None))).all()
        attempts = set(connection.scalars(select(_p.c.attempt)))
    assert set(preempted) == {first}
    # One more for each LATE_S that the first one takes.
    assert len(preempted) <= 1 + after_s // LATE_S, "no more runs than necessary gave up their slot"
    assert attempts == {0}


@pytest.mark.parametrize("delays", [(STEP_S, STEP_S, STEP_S)])
def test_slots_follow_the_weights_of_three_workspaces(
    store: Store, fleet: Fleet, delays: tuple[float, ...], record_property: Callable[[str, object], None]
) -> None:
    weights = (1, 2, 4)
    workspaces = [
        make_backlog(store, f"crowd {weight}", weight, delay_s=delay)
        for weight, delay in zip(weights, delays, strict=True)
    ]
    slots = 35
    fleet.start("run-1", "sweeper", concurrency=slots)
    wait_until(lambda: sum(running(store).values()) == slots)
    time.sleep(2)
    held: Counter[UUID] = Counter()
    for _ in range(round(SECONDS / 0.1)):
        held += running(store)
        time.sleep(0.1)
    for workspace_id, weight in zip(workspaces, weights, strict=True):
        record_property(f"part of weight {weight}", held[workspace_id] / held.total())
        assert held[workspace_id] / held.total() == pytest.approx(weight / 7, rel=0.3)
