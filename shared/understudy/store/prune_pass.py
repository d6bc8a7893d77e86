"""Deletes all participants of a workspace that ended before a moment, in bounded transactions."""

from collections.abc import Iterator
from functools import partial
from uuid import UUID

from understudy.store import prune
from understudy.store.engine import Store
from understudy.store.prune import Pruned, RetentionFilter
from understudy.store.removal import batch_by_weight

#: Approximate maximum rows, of all tables, that one transaction deletes; it never splits a participant.
MAX_ROWS = 20_000


def prune_pass(
    store: Store, old: RetentionFilter, *, batch_size: int, max_rows: int = MAX_ROWS, dry: bool = False
) -> Iterator[Pruned]:
    """Yields the result of each transaction, which deletes up to `batch_size` participants, youngest first.

    The next transaction begins when the caller asks for the next result. Passes may run concurrently, and end at any
    point: another one deletes the rest. Raises ServiceUnavailable.
    """
    # Participants that a dry run would have removed by now.
    gone: set[UUID] = set()
    asks: dict[UUID, None] = {}
    last = None

    def run(work: partial[Pruned]) -> Pruned:
        if not dry:
            return store.write(work)
        with store.read() as connection:
            done = work(connection)
        gone.update(done.removed)
        return done

    while True:
        with store.read() as connection:
            rows = prune.expired_participants(connection, old, last, batch_size)
        if not rows:
            break
        last = rows[-1]
        asks |= dict.fromkeys(row.ask_id for row in rows if row.is_panel)
        for ids in batch_by_weight([row for row in rows if not row.is_panel], max_rows):
            yield run(partial(prune.prune, old=old, ids=ids, removed_ids=gone, dry_run=dry))
    # A panel comes after all other participants of its ask.
    for ask_id in asks:
        panel = partial(prune.prune_panel, old=old, ask_id=ask_id, gone=gone, max_rows=max_rows, dry=dry)
        while (done := run(panel)).removed:
            yield done
        yield done
