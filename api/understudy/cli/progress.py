"""Watching a run until nobody in it is on the way any more: a live table on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from understudy.cli.render import counts_text, plain
from understudy.cli.studies import participants_table, summary_counts
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import ACTIVE, TERMINAL

if TYPE_CHECKING:
    from understudy.cli.feed import EventFeed
    from understudy.client import Understudy
    from understudy.envelopes.participants import Participant

INTERVAL_S = 1.0
#: The same while events tell when something changed.
FALLBACK_POLL_S = 5.0
#: How long a server may be away, for a restart for instance, before watching it fails.
RECONNECT_TIMEOUT_S = 30.0
#: Lines of a terminal that are not for participants.
_FRAME_LINES = 6
_MOST_ROWS = 100


class Snapshot(NamedTuple):
    """A run as seen at one moment."""

    counts: Mapping[str, int]
    #: Those to be shown one by one: all, or the ones under way.
    rows: "Sequence[Participant]"

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        return sum(self.counts.get(status, 0) for status in TERMINAL)

    @property
    def is_finished(self) -> bool:
        # Drafts were not dispatched: nothing will become of them by waiting.
        return not any(self.counts.get(status) for status in ACTIVE)


def study_poller(client: "Understudy", study_id: str, room: int) -> Callable[[], Snapshot]:
    """Counts of the whole study; its participants if they fit into `room` lines, else those running."""

    def look() -> Snapshot:
        summary = client.study_get(study_id, "summary")
        status = "running" if summary.participant_count > room else None
        rows = client.participant_list(study_id=study_id, status=status, limit=room).items if room else []
        return Snapshot(summary_counts(summary), rows)

    return look


def participants_poller(client: "Understudy", participant_ids: Sequence[str]) -> Callable[[], Snapshot]:
    """Each of them; one that is terminal is not asked for again."""
    known: dict[str, Participant] = {}

    def look() -> Snapshot:
        for id_ in participant_ids:
            if id_ not in known or known[id_].status not in TERMINAL:
                known[id_] = client.participant_get(id_)
        rows = [known[id_] for id_ in participant_ids]
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.status] = counts.get(row.status, 0) + 1
        return Snapshot(counts, rows)

    return look


def available_rows(out: Console) -> int:
    """How many participants the display can show one by one."""
    return min(_MOST_ROWS, max(0, out.height - _FRAME_LINES)) if out.is_terminal else 0


def follow_run(
    look: Callable[[], Snapshot],
    out: Console | None,
    *,
    limit_s: float | None = None,
    hint: str = "Ctrl-C ends the watching, not the run.",
    feed: "EventFeed | None" = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Look, again and again, and show it on `out` (None: show nothing). True once all are terminal, False if
    that took longer than `limit_s`.

    It looks again when `feed` has an event, and every second when there is no feed or it does not flow. A
    server that is away for less than PATIENCE_S is waited for; then ServiceUnavailable.
    """
    started = answered = clock()
    seen: Snapshot | None = None
    pause: Callable[[float], object] = feed.wait if feed else sleep
    with _display(out, hint) as show:
        while True:
            try:
                seen = look()
            except ServiceUnavailable:
                if clock() - answered > RECONNECT_TIMEOUT_S:
                    raise
                seen = None
                show(None, clock() - started)
            else:
                answered = clock()
                show(seen, answered - started)
                if seen.is_finished:
                    return True
            look_at = clock() + (FALLBACK_POLL_S if feed and feed.is_connected and seen else INTERVAL_S)
            end = None if limit_s is None else started + limit_s
            while (left := min(look_at, end or look_at) - clock()) > 0 and not pause(min(INTERVAL_S, left)):
                if seen:
                    # The time goes on.
                    show(seen, clock() - started)
            if end is not None and clock() >= end:
                return False


Show = Callable[[Snapshot | None, float], None]


@contextmanager
def _display(out: Console | None, hint: str) -> Generator[Show]:
    if out is None:
        yield lambda _seen, _elapsed_s: None
    elif out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            latest: list[Snapshot] = []

            def show_frame(seen: Snapshot | None, elapsed_s: float) -> None:
                latest[:] = [seen] if seen else latest
                seen_last = latest[0] if latest else None
                live.update(render_frame(seen_last, elapsed_s, hint, away=seen is None), refresh=True)

            yield show_frame
    else:
        told: list[str] = []

        def show_line(seen: Snapshot | None, elapsed_s: float) -> None:
            state = f"{counts_text(seen.counts)}" if seen else "the server does not answer"
            if told != [state]:
                told[:] = [state]
                out.print(f"{elapsed_s:5.0f} s  {state}")

        yield show_line


def render_frame(
    seen: Snapshot | None, elapsed_s: float, hint: str = "", *, away: bool = False
) -> RenderableType:
    """One picture of the live display; `hint` stands below it while something is still to come."""
    views: list[RenderableType] = []
    if seen:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(seen.total, 1), completed=seen.done, width=30),
            Text(f"{seen.done}/{seen.total}", "bold"),
            counts_text(seen.counts),
            Text(f"{elapsed_s:.0f} s", "dim"),
        )
        views = [participants_table(seen.rows), Text()] if seen.rows else []
        views.append(bar)
        if hint and not seen.is_finished:
            views.append(plain(hint, "dim"))
    if away:
        views.append(plain("The server does not answer; asking again…", "yellow"))
    return Group(*views)
