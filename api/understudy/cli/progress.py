"""Follows a run until all participants are terminal: a live table on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from understudy.cli.render import STATUS_STYLES, counts_text, plain
from understudy.cli.studies import participants_table, summary_counts
from understudy.domain.errors import RateLimited, ServiceUnavailable
from understudy.domain.lifecycle import ACTIVE, TERMINAL

if TYPE_CHECKING:
    from understudy.cli.feed import EventFeed
    from understudy.client import Understudy
    from understudy.envelopes.participants import Participant

#: Seconds between two polls without events.
INTERVAL_S = 1.0
#: Seconds between two polls while events report changes.
FALLBACK_POLL_S = 5.0
#: Maximum seconds without a response, for instance during a restart, before watching fails.
RECONNECT_TIMEOUT_S = 30.0
#: Terminal lines that show no participants.
_FRAME_LINES = 6
_MAX_ROWS = 100


class Snapshot(NamedTuple):
    """The state of a run at one moment."""

    counts: Mapping[str, int]
    #: Participants to show in rows: all, or only running ones.
    rows: "Sequence[Participant]"

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        return sum(self.counts.get(status, 0) for status in TERMINAL)

    @property
    def is_finished(self) -> bool:
        # Drafts are not dispatched: waiting does not change them.
        return not any(self.counts.get(status) for status in ACTIVE)


def study_poller(client: "Understudy", study_id: str, limit: int) -> Callable[[], Snapshot]:
    """Returns a poller of the study: all counts, and up to `limit` rows, only running ones if too many."""

    def poll() -> Snapshot:
        summary = client.study_get(study_id, "summary")
        status = "running" if summary.participant_count > limit else None
        rows = client.participant_list(study_id=study_id, status=status, limit=limit).items if limit else []
        return Snapshot(summary_counts(summary), rows)

    return poll


def ask_poller(client: "Understudy", ask_id: str, limit: int) -> Callable[[], Snapshot]:
    """Returns a poller of the ask, over all rounds: all counts, and up to `limit` active rows."""

    def poll() -> Snapshot:
        rounds = client.ask_get(ask_id).rounds
        counts = {status: sum(getattr(one, f"{status}_count") for one in rounds) for status in STATUS_STYLES}
        status = "running" if sum(counts.values()) > limit else None
        rows = client.participant_list(ask_id=ask_id, status=status, limit=limit).items if limit else []
        return Snapshot(counts, rows)

    return poll


def participants_poller(client: "Understudy", participant_ids: Sequence[str]) -> Callable[[], Snapshot]:
    """Returns a poller of the participants; it does not read terminal ones again."""
    known: dict[str, Participant] = {}

    def poll() -> Snapshot:
        for id_ in participant_ids:
            if id_ not in known or known[id_].status not in TERMINAL:
                known[id_] = client.participant_get(id_)
        rows = [known[id_] for id_ in participant_ids]
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.status] = counts.get(row.status, 0) + 1
        return Snapshot(counts, rows)

    return poll


def available_rows(out: Console) -> int:
    """Returns the maximum number of participant rows on the display."""
    return min(_MAX_ROWS, max(0, out.height - _FRAME_LINES)) if out.is_terminal else 0


def follow_run(
    poll: Callable[[], Snapshot],
    out: Console | None,
    *,
    limit_s: float | None = None,
    hint: str = "Ctrl-C stops watching; the run continues.",
    feed: "EventFeed | None" = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Polls and shows the run on `out` (None: shows nothing). Returns True once all are terminal, False after
    `limit_s`.

    Polls after each event of `feed`, and every second without a connected feed. Retries while the server is
    unavailable or asks for a pause; raises ServiceUnavailable or RateLimited after RECONNECT_TIMEOUT_S.
    """
    started = answered = clock()
    snapshot: Snapshot | None = None
    pause: Callable[[float], object] = feed.wait if feed else sleep
    with _display(out, hint) as show:
        while True:
            interval_s = INTERVAL_S
            try:
                snapshot = poll()
            except (ServiceUnavailable, RateLimited) as error:
                if clock() - answered > RECONNECT_TIMEOUT_S:
                    raise
                snapshot, interval_s = None, max(interval_s, error.retry_after_s)
                show(None, clock() - started)
            else:
                answered = clock()
                show(snapshot, answered - started)
                if snapshot.is_finished:
                    return True
            poll_at = clock() + (FALLBACK_POLL_S if feed and feed.is_connected and snapshot else interval_s)
            end = None if limit_s is None else started + limit_s
            while (left := min(poll_at, end or poll_at) - clock()) > 0 and not pause(min(INTERVAL_S, left)):
                if snapshot:  # Updates the elapsed time.
                    show(snapshot, clock() - started)
            if end is not None and clock() >= end:
                return False


Show = Callable[[Snapshot | None, float], None]


@contextmanager
def _display(out: Console | None, hint: str) -> Generator[Show]:
    if out is None:
        yield lambda _snapshot, _elapsed_s: None
    elif out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            latest: list[Snapshot] = []

            def show_frame(snapshot: Snapshot | None, elapsed_s: float) -> None:
                latest[:] = [snapshot] if snapshot else latest
                frame = render_frame(latest[0] if latest else None, elapsed_s, hint, away=snapshot is None)
                live.update(frame, refresh=True)

            yield show_frame
    else:
        printed: list[str] = []

        def show_line(snapshot: Snapshot | None, elapsed_s: float) -> None:
            state = f"{counts_text(snapshot.counts)}" if snapshot else "the server does not answer"
            if printed != [state]:
                printed[:] = [state]
                out.print(f"{elapsed_s:5.0f} s  {state}")

        yield show_line


def render_frame(snapshot: Snapshot | None, elapsed_s: float, hint: str = "", *, away: bool = False) -> RenderableType:
    """Returns a frame of the live display, with `hint` below it while the run is not finished."""
    views: list[RenderableType] = []
    if snapshot:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(snapshot.total, 1), completed=snapshot.done, width=30),
            Text(f"{snapshot.done}/{snapshot.total}", "bold"),
            counts_text(snapshot.counts),
            Text(f"{elapsed_s:.0f} s", "dim"),
        )
        views = [participants_table(snapshot.rows), Text()] if snapshot.rows else []
        views.append(bar)
        if hint and not snapshot.is_finished:
            views.append(plain(hint, "dim"))
    if away:
        views.append(plain("The server does not answer; retrying…", "yellow"))
    return Group(*views)
