"""`understudy prune`: removes what ended long ago. Works on the store itself, beside everything that runs."""

import json
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

from rich.console import Console
from sqlalchemy import Connection, inspect

from understudy.domain.errors import NotFound
from understudy.envelopes.base import rfc3339
from understudy.settings import Settings
from understudy.store import prune as rules
from understudy.store import workspaces
from understudy.store.engine import Store, store_time

DAY_S = 24 * 3600
#: How often progress is told.
PROGRESS_INTERVAL_S = 2
#: What a shell reports of a program that was ended by SIGINT.
INTERRUPTED = 130

Work = Callable[[Connection], rules.Pruned]


@dataclass
class PruneReport:
    """What was done so far."""

    ended_before: datetime
    dry_run: bool
    #: Was everything looked at?
    complete: bool = False
    rows: Counter[str] = field(default_factory=Counter)
    kept: Counter[rules.KeepReason] = field(default_factory=Counter)

    def add(self, pruned: rules.Pruned) -> None:
        self.rows += pruned.rows
        self.kept += pruned.kept

    def told(self) -> dict[str, Any]:
        """As JSON."""
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
        """For people."""
        as_json = self.told()
        removed = ", ".join(f"{count:,} {name}" for name, count in as_json["removed"].items())
        kept = ", ".join(f"{count:,} {name}" for name, count in as_json["kept"].items() if count) or "nobody"
        return f"{'would remove' if self.dry_run else 'removed'} {removed}; kept although old: {kept}"


class PruneJob:
    """One run of the command: looks at who is old, the youngest first, and removes them by and by."""

    def __init__(self, store: Store, *, batch_size: int, pause_s: float, dry: bool) -> None:
        self._store = store
        self._batch_size, self._pause_s, self._dry = batch_size, pause_s, dry
        #: Set it, and no further transaction is begun.
        self.stopping = threading.Event()

    def run(self, names: dict[UUID, str], tally: PruneReport, report_progress: Callable[[str], None]) -> None:
        """Go through these workspaces; what was removed is in `tally`. Raises ServiceUnavailable."""
        told_at = time.monotonic()
        for workspace_id, name in names.items():
            for work in self._transactions(rules.RetentionFilter(workspace_id, tally.ended_before)):
                if self.stopping.is_set():
                    return
                tally.add(self._do(work))
                if time.monotonic() - told_at > PROGRESS_INTERVAL_S:
                    told_at = time.monotonic()
                    report_progress(f"{name}: {tally.line()}")
        tally.complete = True

    def _do(self, work: Work) -> rules.Pruned:
        if self._dry:
            with self._store.read() as connection:
                return work(connection)
        done = self._store.write(work)
        # Others have their turn, and vacuum its own.
        self.stopping.wait(self._pause_s)
        return done

    def _transactions(self, old: rules.RetentionFilter) -> Iterator[Work]:
        """One transaction after the other, for all that was there when it was looked at."""
        last, gone = None, set[UUID]()
        asks: dict[UUID, None] = {}
        while True:
            with self._store.read() as connection:
                rows = rules.expired_participants(connection, old, last, self._batch_size)
            if not rows:
                break
            last = rows[-1]
            asks |= dict.fromkeys(row.ask_id for row in rows if row.is_panel)
            for ids in rules.batch_by_rows([row for row in rows if not row.is_panel]):
                yield self._track_removed(gone, partial(rules.prune, old=old, ids=ids))
        # Once everything else of their asks was looked at.
        for ask_id in asks:
            yield self._track_removed(gone, partial(rules.prune_panel, old=old, ask_id=ask_id))

    def _track_removed(self, gone: set[UUID], work: Callable[..., rules.Pruned]) -> Work:
        """Do `work`; who would be gone by it is gone for what comes after."""

        def remember(connection: Connection) -> rules.Pruned:
            done = work(connection, gone=gone, dry=self._dry)
            if self._dry:
                gone.update(done.removed)
            return done

        return remember


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
    """Do it and tell about it; the exit code. Raises NotFound, ServiceUnavailable."""
    err = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    store = _open_existing_store(settings)
    try:
        with store.read() as connection:
            names, ended_before = _begin(connection, workspace, older_than_days * DAY_S)
        tally = PruneReport(ended_before, dry)
        pruning = PruneJob(store, batch_size=batch_size, pause_s=pause_s, dry=dry)
        with _interrupted_by_signal(pruning.stopping):
            try:
                pruning.run(names, tally, (lambda _: None) if as_json else err.print)
            finally:
                if as_json:
                    print(json.dumps(tally.told()))  # noqa: T201
                else:
                    state = "" if tally.complete else "stopped early: "
                    err.print(f"{state}ended before {rfc3339(ended_before)}: {tally.line()}")
    finally:
        store.dispose()
    return 0 if tally.complete else INTERRUPTED


def _open_existing_store(settings: Settings) -> Store:
    """The store, which is not made by looking for it."""
    store = Store(settings.store_url)
    if store.url.get_backend_name() == "sqlite" and not Path(store.url.database or "").is_file():
        raise NotFound(
            f"There is no store {store.url.database}.",
            suggestions=(
                "Name the folder of `understudy up` with --data-dir, or set UNDERSTUDY_DATABASE_URL.",
            ),
        )
    with store.read() as connection:
        if not inspect(connection).has_table("participant"):
            raise NotFound(
                "The store has no tables: nothing was ever run on it.",
                suggestions=("Is UNDERSTUDY_DATABASE_URL right? `understudy migrate` makes the tables.",),
            )
    return store


def _begin(connection: Connection, workspace: str | None, age_s: float) -> tuple[dict[UUID, str], datetime]:
    names = {id_: name for id_, name in workspaces.list_workspaces(connection) if workspace in {None, name}}
    if workspace is not None and not names:
        raise NotFound(f"There is no workspace {workspace!r}.", suggestions=("See `understudy token list`.",))
    return names, store_time(connection, -age_s)


@contextmanager
def _interrupted_by_signal(stopping: threading.Event) -> Iterator[None]:
    """Ctrl-C, or SIGTERM, lets the transaction that is under way end; a second one ends the process."""

    def stop(number: int, _: object) -> None:
        stopping.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
