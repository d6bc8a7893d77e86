"""A store of any size, quickly: what it has after many runs, written past the functions that make it."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select

from tests.factories import make_lease, make_study, make_workspace
from understudy.store.engine import Store
from understudy.store.schema import Tables

#: Participants of a study; every tenth went on from the one before it.
EACH = 200
#: Interactions of each.
STEPS = 5

_NOTHING = "{}"


class SeedData(NamedTuple):
    """What to ask for."""

    workspace_id: UUID
    secret: str
    #: The biggest study, and one of its iterations.
    study_id: UUID
    iteration_id: UUID
    person_id: UUID
    #: Of a worker that lives, and runs some.
    worker_id: UUID
    by_status: dict[str, list[UUID]]
    #: Went on from another one.
    extended: list[UUID]


def fill(store: Store, interactions: int) -> SeedData:
    """Participants with so many interactions: of a thousand 990 completed, 4 wait, 4 run, 2 were cancelled.

    The store knows afterwards what is in it, as any does that has been at work for a while.
    """
    made = make_workspace(store)
    count = max(EACH, interactions // STEPS)
    studies = [make_study(store, made.workspace_id) for _ in range(min(50, count // EACH))]
    workers = [make_lease(store, 3600), make_lease(store, -60)]
    with store.read() as connection:
        people = connection.scalars(select(Tables.person.c.id)).all()
    rows = _Rows(made.workspace_id, people, studies, workers, count)
    for table, names, several in (
        (Tables.participant, _PARTICIPANT, rows.participants()),
        (Tables.interaction, _INTERACTION, rows.interactions()),
        (Tables.checkpoint, ("participant_id", "state"), rows.checkpoints()),
        (Tables.event, _EVENT, rows.events()),
        (Tables.usage, _USAGE, rows.usage()),
    ):
        _write(store, table.name, names, several)
    if store.engine.dialect.name == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.invalidate()
    return SeedData(
        workspace_id=made.workspace_id,
        secret=made.secret,
        study_id=studies[0][0],
        iteration_id=studies[0][1][0],
        person_id=people[0],
        worker_id=workers[0],
        by_status=rows.by_status,
        extended=rows.extended,
    )


_PARTICIPANT = (
    *("id", "workspace_id", "alias", "person_id", "study_id", "iteration_id", "status", "epoch", "seq"),
    *("attempt", "worker_id", "claimed_ms", "pending_since", "queue", "dispatched_at", "dispatch_no", "seed"),
    *("max_interactions", "interaction_count", "extended_from", "branched_at", "instruction_is_own"),
    *("created_at", "started_at", "finished_at"),
)
_INTERACTION = (
    *("participant_id", "ordinal", "epoch", "observation", "thought", "action", "sentiment", "result"),
    *("started_at", "duration_ms"),
)
_EVENT = ("participant_id", "seq", "kind", "data", "at", "position", "workspace_id", "study_id")

_USAGE = (
    *("participant_id", "ordinal", "at", "workspace_id", "study_id", "model", "calls", "input_tokens"),
    *("output_tokens", "seconds"),
)


class _Rows:
    def __init__(
        self,
        workspace_id: UUID,
        people: Any,
        studies: list[tuple[UUID, list[UUID]]],
        workers: list[UUID],
        count: int,
    ) -> None:
        chance = random.Random(1)
        self.ids = [UUID(int=chance.getrandbits(128), version=4) for _ in range(count)]
        self.by_status: dict[str, list[UUID]] = {}
        self.extended = [id_ for number, id_ in enumerate(self.ids) if number % 10 == 9]
        self._workspace = workspace_id.hex
        self._people, self._studies, self._workers = people, studies, workers
        self._now = datetime.now(UTC)

    def _at(self, number: int) -> str:
        at = self._now - timedelta(minutes=5 * (len(self.ids) - number))
        return at.strftime("%Y-%m-%d %H:%M:%S.%f")

    def _study(self, number: int) -> tuple[UUID, list[UUID]]:
        return self._studies[number * len(self._studies) // len(self.ids)]

    def participants(self) -> Iterable[tuple[Any, ...]]:
        for number, id_ in enumerate(self.ids):
            rest = number % 1000
            status = "completed" if rest < 990 else "pending" if rest < 994 else "running"
            status = "cancelled" if rest >= 998 else status
            self.by_status.setdefault(status, []).append(id_)
            study_id, (iteration_id,) = self._study(number)
            at, extended = self._at(number), number % 10 == 9
            yield (
                *(id_.hex, self._workspace, f"t-{number:08x}", self._people[number % 4].hex),
                *(study_id.hex, iteration_id.hex, status, 1, STEPS + 3, 0),
                self._workers[rest % 2].hex if rest >= 994 else None,
                *(5, at, "runs", None if rest == 990 else at, 1, 1, 20),
                *((2 if extended else 1) * STEPS, self.ids[number - 1].hex if extended else None),
                *(STEPS if extended else 0, "0", at, at),
                at if status in {"completed", "cancelled"} else None,
            )

    def interactions(self) -> Iterable[tuple[Any, ...]]:
        page = '{"url": "http://shop/page", "title": "A page", "text": "' + "Some words. " * 20 + '"}'
        for number, id_ in enumerate(self.ids):
            first, at = STEPS if number % 10 == 9 else 0, self._at(number)
            for index in range(first, first + STEPS):
                yield id_.hex, index, 1, page, "Well.", '{"kind": "follow"}', 0.1, _NOTHING, at, 20

    def checkpoints(self) -> Iterable[tuple[Any, ...]]:
        state = '{"memory": "' + "What I know. " * 50 + '"}'
        return ((id_.hex, state) for id_ in self.ids)

    def events(self) -> Iterable[tuple[Any, ...]]:
        position = 0
        for number, id_ in enumerate(self.ids):
            for seq in range(1, STEPS + 4):
                position += 1
                # The last few have none yet.
                given = position if number < len(self.ids) - 10 else None
                whose = (self._workspace, self._study(number)[0].hex) if given else (None, None)
                yield id_.hex, seq, "status", '{"status": "running"}', self._at(number), given, *whose

    def usage(self) -> Iterable[tuple[Any, ...]]:
        """Some asked a model at each step."""
        for number, id_ in enumerate(self.ids):
            if number % 4 == 0:
                at, study = self._at(number), self._study(number)[0].hex
                for index in range(STEPS):
                    yield id_.hex, index, at, self._workspace, study, "small", 1, 900, 40, 0.5


def _write(store: Store, table: str, names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    columns = ", ".join(names)
    raw = store.engine.raw_connection()
    driver: Any = raw.driver_connection
    try:
        if store.engine.dialect.name == "postgresql":
            driver.execute("SET LOCAL statement_timeout = 0")
            driver.execute("SET LOCAL transaction_timeout = 0")
            driver.execute("SET LOCAL TimeZone = 'UTC'")
            # What refers to what is right by the way it is made: no triggers look at it.
            driver.execute("SET LOCAL session_replication_role = replica")
            with driver.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            driver.execute("PRAGMA foreign_keys = OFF")
            driver.execute("BEGIN IMMEDIATE")
            marks = ", ".join("?" * len(names))
            driver.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
        driver.commit()
    finally:
        raw.invalidate()
