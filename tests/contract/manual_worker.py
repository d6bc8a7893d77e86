"""Runs without a worker: participants are made, claimed, run and ended by hand; and the rows of the store."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Table, select

from tests.factories import make_lease, make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import wait_until
from understudy.domain.lifecycle import FailureKind, Outcome
from understudy.domain.runs import Step
from understudy.store import lifecycle
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.schema import Tables

_TABLES: dict[str, Table] = {name: table for name, table in vars(Tables).items() if not name.startswith("_")}


def make_run(store: Store, caller: ApiClient, count: int = 1, **settings: Any) -> tuple[UUID, list[UUID]]:
    """A study with one iteration, and its participants."""
    study, (iteration,) = make_study(store, caller.workspace_id)
    return study, make_participants(store, caller.workspace_id, study, iteration, count, **settings)


def claim(store: Store, participant_id: UUID) -> Claim:
    """Claim a pending participant, with a lease of its own."""
    lease = make_lease(store)
    row = store.write(lambda connection: lifecycle.claim(connection, participant_id, lease))
    assert row is not None
    return Claim(row.id, row.epoch)


def commit(store: Store, held: Claim, index: int, **changes: Any) -> bool:
    """Store the interaction `index`; False when the claim was lost."""
    values: dict[str, Any] = {
        "index": index,
        "observation": {"url": f"page/{index}", "title": f"Page {index}", "problem": "", "text": ""},
        "thought": f"Thought {index}",
        "action": {"kind": "follow", "target": "Next", "value": None},
        "sentiment": 0.5,
        "result": {"url": f"page/{index + 1}"},
        "started_at": datetime.now(UTC),
        "duration_ms": 3,
        "state": {"memory": {}, "environment": {"page": index}},
    }
    step = Step(**(values | changes))
    return store.write(lambda connection: lifecycle.commit_step(connection, held, step, 5))


def run_steps(store: Store, participant_id: UUID, steps: int) -> Claim:
    """Claim a participant and store `steps` interactions; it stays running."""
    held = claim(store, participant_id)
    start = participant(store, participant_id)["interaction_count"]
    for index in range(start, start + steps):
        assert commit(store, held, index)
    return held


def end(store: Store, held: Claim, status: str) -> None:
    """Bring a running participant to a terminal status."""
    ends = {
        "completed": lambda connection: lifecycle.complete(connection, held, Outcome.GAVE_UP, 1),
        "failed": lambda connection: lifecycle.fail(connection, held, FailureKind.ENVIRONMENT_ERROR, "no answer", 1),
        "cancelled": lambda connection: lifecycle.cancel_any_workspace(connection, [held.participant_id]),
    }
    assert store.write(ends[status])


def run_to_end(store: Store, participant_id: UUID, steps: int = 3, status: str = "completed") -> None:
    """A whole run: `steps` interactions, then the end."""
    end(store, run_steps(store, participant_id, steps), status)


def participant(store: Store, id_: UUID) -> dict[str, Any]:
    """Its row."""
    with store.read() as connection:
        row = connection.execute(select(Tables.participant).where(Tables.participant.c.id == id_)).one()
    return dict(row._mapping)


def dump_tables(store: Store) -> dict[str, list[str]]:
    """Every row of every table, to show that nothing changed.

    Without the positions of events, which come later, and without the counts of calls: bad ones count too.
    """
    set_later = {"position", "workspace_id", "study_id", "ask_id"}
    columns = {
        name: [column for column in table.c if name != "event" or column.name not in set_later]
        for name, table in _TABLES.items()
        if name not in {"call_use", "call_place"}
    }
    with store.read() as connection:
        return {name: sorted(map(repr, connection.execute(select(*columns[name])))) for name in columns}


def dump_idle_tables(store: Store) -> dict[str, list[str]]:
    """Returns the contents once the run message of every pending participant was sent, in the background."""
    unsent = select(Tables.participant.c.id).where(
        Tables.participant.c.status == "pending", Tables.participant.c.dispatched_at.is_(None)
    )

    def all_sent() -> bool:
        with store.read() as connection:
            return not connection.scalars(unsent).all()

    wait_until(all_sent)
    return dump_tables(store)


def counts(store: Store) -> dict[str, int]:
    """How many rows each table has."""
    return {name: len(rows) for name, rows in dump_tables(store).items()}
