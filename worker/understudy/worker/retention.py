"""Carries out the retention of workspaces: deletes participants that ended longer ago, a few in each sweep."""

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from understudy.settings import Settings
from understudy.store import workspaces
from understudy.store.engine import Store, store_time
from understudy.store.prune import Pruned, RetentionFilter
from understudy.store.prune_pass import prune_pass
from understudy.telemetry.retention_metrics import retention_deleted

log = logging.getLogger(__name__)

DAY_S = 24 * 3600
#: Seconds after which expired participants are looked for again.
INTERVAL_S = 60
#: Maximum transactions of one sweep, and the participants and rows that each deletes at most (rows: about).
MAX_TRANSACTIONS, BATCH_SIZE, MAX_ROWS = 4, 100, 2_000


@dataclass
class _Pass:
    """The deletion of what has expired now in one workspace."""

    workspace_id: UUID
    days: int
    steps: Iterator[Pruned]
    deleted_count: int = 0


class Retention:
    """Deletes in small transactions, the workspaces in turn. Row locks keep concurrent sweepers apart.

    A changed setting ends the deletion before its next sweep.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._passes: deque[_Pass] = deque()
        #: Monotonic time from which the next passes may begin.
        self._begin_at = 0.0

    def sweep(self) -> int:
        """Deletes up to MAX_TRANSACTIONS batches; returns the number of participants. Raises ServiceUnavailable."""
        self._begin_or_end_passes()
        total = 0
        for _ in range(MAX_TRANSACTIONS):
            if not self._passes:
                break
            total += self._step(self._passes.popleft())
        return total

    def _begin_or_end_passes(self) -> None:
        begins = not self._passes and time.monotonic() >= self._begin_at
        if not begins and not self._passes:
            return
        with self._store.read() as connection:
            rows = workspaces.list_rows(connection)
            days = {row.id: self._settings.value_in_force(row, "retention_days") for row in rows}
            if begins:
                self._begin_at = time.monotonic() + INTERVAL_S
                for id_ in (id_ for id_, kept_days in days.items() if kept_days):
                    old = RetentionFilter(id_, store_time(connection, -days[id_] * DAY_S))
                    steps = prune_pass(self._store, old, batch_size=BATCH_SIZE, max_rows=MAX_ROWS)
                    self._passes.append(_Pass(id_, days[id_], steps))
        for changed in [one for one in self._passes if days.get(one.workspace_id) != one.days]:
            self._passes.remove(changed)
            self._report(changed)

    def _step(self, one: _Pass) -> int:
        """Runs the next transaction of a pass, and puts the pass back unless that was the last."""
        pruned = next(one.steps, None)
        if pruned is None:
            self._report(one)
            return 0
        one.deleted_count += len(pruned.removed)
        retention_deleted.inc(len(pruned.removed))
        self._passes.append(one)
        return len(pruned.removed)

    @staticmethod
    def _report(one: _Pass) -> None:
        if one.deleted_count:
            log.info(
                "deleted %d participants of workspace %s, which ended more than %d days ago",
                *(one.deleted_count, one.workspace_id, one.days),
            )
