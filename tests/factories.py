"""Rows for tests, made by the same functions that the API and the workers use."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, select

from understudy.domain.lifecycle import Status
from understudy.domain.people import generate_people
from understudy.domain.queues import WorkerKind
from understudy.domain.runs import Step
from understudy.store import asks, dispatch, leases, lifecycle, people, recovery, studies, workspaces
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.schema import Tables


def make_workspace(store: Store, name: str = "acme", number: int = 4) -> workspaces.NewToken:
    """Creates a workspace with a token and `number` people."""

    def make(connection: Connection) -> workspaces.NewToken:
        token = workspaces.create_token(connection, name)
        people.insert_people(connection, token.workspace_id, generate_people(number, 1))
        return token

    return store.write(make)


def make_study(
    store: Store,
    workspace_id: UUID,
    *,
    content: dict[str, object] | None = None,
    success: dict[str, str] | None = None,
    iterations: int = 1,
    **settings: object,
) -> tuple[UUID, list[UUID]]:
    """Creates a study with iterations in the scripted environment; returns its id and their ids."""

    def make(connection: Connection) -> tuple[UUID, list[UUID]]:
        assignment = {"task": "Walk on"} | ({"success": success} if success else {})
        study_id = studies.insert_study(
            connection, workspace_id, name="Walk", modality="interactive", assignment=assignment, questions=[]
        )
        defaults = {"max_interactions": None, "mind": "scripted", "step_timeout_s": 60, "run_timeout_s": 3600}
        ids = [
            studies.insert_iteration(
                connection,
                workspace_id,
                study_id,
                content={"environment": "scripted"} | (content or {}),
                **(defaults | settings),
            )
            for _ in range(iterations)
        ]
        return study_id, ids

    return store.write(make)


def make_participants(
    store: Store,
    workspace_id: UUID,
    study_id: UUID,
    iteration_id: UUID,
    count: int = 1,
    *,
    max_interactions: int = 5,
    status: Status = Status.PENDING,
    person: UUID | None = None,
) -> list[UUID]:
    """Creates unpublished participants of `person`, by default of four people of the workspace in turn."""

    def make(connection: Connection) -> list[UUID]:
        everyone = [person] * 4 if person else people.sample_people(connection, workspace_id, 4, 0)
        return list(
            dispatch.insert_participants(
                connection,
                workspace_id,
                [everyone[index % 4] for index in range(count)],
                study_id=study_id,
                iteration_id=iteration_id,
                max_interactions=max_interactions,
                seed=1,
                status=status,
            )
        )

    return store.write(make)


def make_ask(
    store: Store, workspace_id: UUID, *, rounds: int = 2, each: int = 2, step_timeout_s: float = 60
) -> tuple[UUID, list[list[UUID]]]:
    """Creates an ask with pending participants in each round; returns its id and their ids by round."""

    def make(connection: Connection) -> tuple[UUID, list[list[UUID]]]:
        ask_id = asks.insert_ask(
            connection,
            workspace_id,
            question="Which one?",
            max_interactions=None,
            mind="heuristic",
            step_timeout_s=step_timeout_s,
            run_timeout_s=3600,
        )
        everyone = people.sample_people(connection, workspace_id, each, 0)
        ids = []
        for _ in range(rounds):
            number = asks.open_round(connection, ask_id)
            assert number is not None
            variants = ["This one.", "That one."]
            asks.insert_round(connection, ask_id, number, question="Which one?", variants=variants)
            made = dispatch.insert_participants(
                connection,
                workspace_id,
                everyone,
                ask_id=ask_id,
                round_number=number,
                max_interactions=5,
                seed=1,
            )
            ids.append(list(made))
        return ask_id, ids

    return store.write(make)


def make_lease(store: Store, ttl_s: float = 60, kind: WorkerKind = WorkerKind.RUN) -> UUID:
    """Creates the lease of a worker; it expires after `ttl_s`."""
    id_ = uuid4()
    store.write(lambda connection: leases.create_lease(connection, id_, "test", ttl_s, kind))
    return id_


def make_step(index: int, **changes: Any) -> Step:
    """Returns a step that stores the interaction `index`."""
    values: dict[str, Any] = {
        "index": index,
        "observation": {"url": "u", "title": "t", "problem": "", "text": ""},
        "thought": "hm",
        "action": {"kind": "follow"},
        "sentiment": 0.0,
        "result": {"url": "u2"},
        "started_at": datetime.now(UTC),
        "duration_ms": 3,
        "state": {"memory": {}, "environment": {"page": index}},
    }
    return Step(**(values | changes))


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Returns the results of `works`, which begin at the same moment in a thread each."""
    barrier = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        barrier.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


class StudyStore:
    """A store with a study, and short forms of the functions that write its participants.

    By default they concern the participant `id_` and the worker `worker_id`, which are created on first use.
    """

    def __init__(self, store: Store, workspace: str = "acme", **study: Any) -> None:
        self.store = store
        self.workspace_id = make_workspace(store, workspace).workspace_id
        self.study_id, (self.iteration_id,) = make_study(store, self.workspace_id, **study)

    @cached_property
    def id_(self) -> UUID:
        return self.participants(max_interactions=50)[0]

    @cached_property
    def worker_id(self) -> UUID:
        return make_lease(self.store)

    def participants(self, count: int = 1, **options: Any) -> list[UUID]:
        return make_participants(self.store, self.workspace_id, self.study_id, self.iteration_id, count, **options)

    def write(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self.store.write(lambda connection: work(connection, *arguments, **options))

    def read(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with self.store.read() as connection:
            return work(connection, *arguments, **options)

    def row(self, id_: UUID | None = None) -> Any:
        with self.store.read() as connection:
            return connection.execute(select(Tables.participant).filter_by(id=id_ or self.id_)).one()

    def rows(self) -> Sequence[Any]:
        with self.store.read() as connection:
            return connection.execute(select(Tables.participant).order_by("id")).all()

    def claim(
        self, id_: UUID | None = None, worker_id: UUID | None = None, *, quarantine: bool = False
    ) -> Claim | None:
        row = self.write(lifecycle.claim, id_ or self.id_, worker_id or self.worker_id, quarantine=quarantine)
        return row and Claim(row.id, row.epoch)

    def must_claim(self, id_: UUID | None = None, worker_id: UUID | None = None, *, quarantine: bool = False) -> Claim:
        claim = self.claim(id_, worker_id, quarantine=quarantine)
        assert claim is not None
        return claim

    def running(self, worker_id: UUID | None = None) -> Claim:
        """Returns the claim of a new participant."""
        return self.must_claim(self.participants()[0], worker_id)

    def commit(self, claim: Claim, index: int = 0, **changes: Any) -> bool:
        return bool(self.write(lifecycle.commit_step, claim, make_step(index, **changes), 5))

    def cancel(self, *ids: UUID) -> list[UUID]:
        return list(self.write(lifecycle.cancel, self.workspace_id, ids or [self.id_]))

    def extend(self, id_: UUID | None = None, steps: int = 5, instruction: str | None = None) -> Any:
        return self.write(dispatch.insert_branch, self.workspace_id, id_ or self.id_, steps, instruction)

    def expire_lease(self, worker_id: UUID | None = None) -> None:
        self.write(leases.expire_lease, worker_id or self.worker_id)

    def recover(self) -> list[UUID]:
        lost = self.write(recovery.recover_lost, 3, 100)
        return [*lost.resumed, *lost.failed]
