"""`understudy prune`: deletes old terminal participants, directly in the store, while the fleet runs."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, inspect

from understudy.cli.terminal import write_json, write_line
from understudy.domain.errors import NotFound
from understudy.envelopes.base import rfc3339
from understudy.settings import Settings
from understudy.store import prune as rules
from understudy.store import workspaces
from understudy.store.engine import Store, store_time
from understudy.store.prune_pass import prune_pass

DAY_S = 24 * 3600
#: Seconds between two progress reports.
PROGRESS_INTERVAL_S = 2
#: Exit code that shells use for a program ended by SIGINT.
INTERRUPTED = 130


@dataclass
class PruneReport:
    """Progress and result of a prune."""

    ended_before: datetime
    dry_run: bool
    #: True once all matching participants were checked.
    complete: bool = False
    rows: Counter[str] = field(default_factory=Counter)
    kept: Counter[rules.KeepReason] = field(default_factory=Counter)

    def add(self, pruned: rules.Pruned) -> None:
        self.rows += pruned.rows
        self.kept += pruned.kept

    def told(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {
            "ended_before": rfc3339(self.ended_before),
            "dry_run": self.dry_run,
            "complete": self.complete,
            "removed": {
                "participants": self.rows["participant"],
                "interactions": self.rows["interaction"],
                "events": self.rows["event"],
                "checkpoints": self.rows["checkpoint"],
                "usage": self.rows["usage"],
            },
            "kept": {str(reason): self.kept[reason] for reason in rules.KeepReason},
        }

    def line(self) -> str:
        """Returns the report as one line of text."""
        as_json = self.told()
        removed = ", ".join(f"{count:,} {name}" for name, count in as_json["removed"].items())
        kept = ", ".join(f"{count:,} {name}" for name, count in as_json["kept"].items() if count) or "none"
        return f"{'would remove' if self.dry_run else 'removed'} {removed}; old but kept: {kept}"


class PruneJob:
    """One run of the command: deletes expired participants in batches, the youngest first."""

    def __init__(self, store: Store, *, batch_size: int, pause_s: float, dry: bool) -> None:
        self._store = store
        self._batch_size, self._pause_s, self._dry = batch_size, pause_s, dry
        #: Once set, no further transaction begins.
        self.stopping = threading.Event()

    def run(self, names: dict[UUID, str], report: PruneReport, log: Callable[[str], None]) -> None:
        """Prunes these workspaces and adds the counts to `report`. Raises ServiceUnavailable."""
        reported_at = time.monotonic()
        for workspace_id, name in names.items():
            old = rules.RetentionFilter(workspace_id, report.ended_before)
            for pruned in prune_pass(self._store, old, batch_size=self._batch_size, dry=self._dry):
                report.add(pruned)
                if time.monotonic() - reported_at > PROGRESS_INTERVAL_S:
                    reported_at = time.monotonic()
                    log(f"{name}: {report.line()}")
                # The pause lets other writers and the vacuum proceed.
                if self.stopping.wait(0 if self._dry else self._pause_s):
                    return
        report.complete = True


def prune(
    settings: Settings,
    *,
    older_than_days: float,
    workspace: str | None,
    batch_size: int,
    pause_s: float,
    dry: bool,
    as_json: bool,
) -> int:
    """Prunes and prints the report; returns the exit code. Raises NotFound, ServiceUnavailable."""
    err = partial(write_line, stderr=True)
    store = _open_existing_store(settings)
    try:
        with store.read() as connection:
            names, ended_before = _begin(connection, workspace, older_than_days * DAY_S)
        report = PruneReport(ended_before, dry)
        job = PruneJob(store, batch_size=batch_size, pause_s=pause_s, dry=dry)
        with _interrupted_by_signal(job.stopping):
            try:
                job.run(names, report, (lambda _: None) if as_json else err)
            finally:
                if as_json:
                    write_json(report.told())
                else:
                    state = "" if report.complete else "stopped early: "
                    err(f"{state}ended before {rfc3339(ended_before)}: {report.line()}")
    finally:
        store.dispose()
    return 0 if report.complete else INTERRUPTED


def _open_existing_store(settings: Settings) -> Store:
    """Opens the store without creating it. Raises NotFound if the file or its tables are missing."""
    store = Store(settings.store_url)
    if store.url.get_backend_name() == "sqlite" and not Path(store.url.database or "").is_file():
        raise NotFound(
            f"The store {store.url.database} does not exist.",
            suggestions=("Pass the folder of `understudy up` with --data-dir, or set UNDERSTUDY_DATABASE_URL.",),
        )
    with store.read() as connection:
        if not inspect(connection).has_table("participant"):
            raise NotFound(
                "The store has no tables: it was never migrated.",
                suggestions=("Check UNDERSTUDY_DATABASE_URL; `understudy migrate` creates the tables.",),
            )
    return store


def _begin(connection: Connection, workspace: str | None, age_s: float) -> tuple[dict[UUID, str], datetime]:
    names = {id_: name for id_, name in workspaces.list_workspaces(connection) if workspace in {None, name}}
    if workspace is not None and not names:
        raise NotFound(f"Workspace {workspace!r} does not exist.", suggestions=("See `understudy token list`.",))
    return names, store_time(connection, -age_s)


@contextmanager
def _interrupted_by_signal(stopping: threading.Event) -> Iterator[None]:
    """Lets the current transaction finish on SIGINT or SIGTERM; a second signal ends the process."""

    def stop(number: int, _: object) -> None:
        stopping.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
