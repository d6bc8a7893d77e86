"""The command that looks at what is under way: `watch`, as a picture or as events."""

import shlex
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from understudy.cli.console import CommandContext
from understudy.cli.feed import EventFeed
from understudy.cli.numbers import seconds, whole_number
from understudy.cli.objects import kind_of
from understudy.cli.progress import (
    FALLBACK_POLL_S,
    Snapshot,
    available_rows,
    follow_run,
    participants_poller,
    study_poller,
)
from understudy.domain.errors import NotFound, ServiceUnavailable, UnderstudyError, ValidationError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import TERMINAL

if TYPE_CHECKING:
    from understudy.envelopes.events import Event

Source = Callable[[], "Iterator[Event]"]

#: More participants than this are watched by asking for each.
_MOST_STREAMS = 5


class WatchTimeout(UnderstudyError):
    """What is watched is still going on."""

    code = "wait_timeout"


def watch(
    session: CommandContext,
    ids: Annotated[list[str], typer.Argument(metavar="S|T…", help="One study, or one or more participants.")],
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="Longest time to watch.",
            show_default="until all are through",
        ),
    ] = None,
    *,
    events: Annotated[
        bool, typer.Option("--events", metavar="", help="Print each event as a line of JSON.")
    ] = False,
    after: Annotated[
        int | None,
        typer.Option(
            parser=whole_number,
            metavar="ID",
            help="With --events: go on after the event of this id.",
            show_default="from the first",
        ),
    ] = None,
) -> None:
    """Watch live until all participants have finished. Ctrl-C stops watching; the run continues.

    With --json it prints the summary of a study, or what `wait` prints, once all have finished. With --events
    it prints each event of a study or a participant once, as it happens.
    """
    if after is not None and not events:
        raise ValidationError("--after goes with --events only")
    kinds = {kind_of(id_) for id_ in ids}
    if kinds <= {Kind.PARTICIPANT} or (kinds == {None} and not _is_study(session, ids)):
        if not events:
            _watch_participants(session, ids, timeout)
        elif len(ids) > 1:
            raise ValidationError("--events takes one study or one participant")
        else:
            _print_events(session, ids[0], Kind.PARTICIPANT, after, timeout)
    elif kinds <= {Kind.STUDY, None} and len(ids) == 1:
        if events:
            _print_events(session, ids[0], Kind.STUDY, after, timeout)
        else:
            watch_study(session, ids[0], timeout)
    else:
        raise ValidationError("watch takes one study, or one or more participants")


def watch_study(session: CommandContext, study: str, timeout: float | None) -> None:
    """Until nobody in the study is active; NotOver after `timeout` seconds."""
    session.resume_command = f"understudy watch {study}"
    out = None if session.as_json else session.out
    look = study_poller(session.client, study, available_rows(session.out) if out else 0)
    _watch(session, look, [partial(session.client.events, study_id=study)], timeout)
    if session.as_json:
        session.show()
    else:
        session.out.print(f"How everybody did: understudy get {study}", style="dim")


def _watch_participants(session: CommandContext, ids: list[str], timeout: float | None) -> None:
    session.resume_command = f"understudy watch {shlex.join(ids)}"
    sources: list[Source] = [partial(session.client.events, participant_id=id_) for id_ in ids]
    look = participants_poller(session.client, ids)
    _watch(session, look, sources if len(ids) <= _MOST_STREAMS else [], timeout)
    if session.as_json:
        session.client.simulation_wait(ids, timeout=1.0)
        session.show()
    else:
        session.out.print(f"The journey: understudy get {ids[0]}", style="dim")


def _watch(
    session: CommandContext, look: Callable[[], Snapshot], sources: list[Source], timeout: float | None
) -> None:
    out = None if session.as_json else session.out
    try:
        over = follow_run(look, out, limit_s=timeout, feed=EventFeed(sources))
    except ServiceUnavailable as error:
        raise _connection_lost(session, error) from error
    if not over:
        raise _watch_timeout(session, timeout)


def _print_events(
    session: CommandContext, id_: str, kind: Kind, after: int | None, timeout: float | None
) -> None:
    """Each event as it comes, until nobody in scope is active; then the rest of them."""
    client, command = session.client, f"understudy watch {id_} --events"
    session.resume_command = command if after is None else f"{command} --after {after}"
    study, participant = (id_, None) if kind is Kind.STUDY else (None, id_)
    read = partial(client.events, study_id=study, participant_id=participant)
    look = study_poller(client, id_, 0) if study else participants_poller(client, [id_])
    last = after

    def show(event: "Event") -> None:
        nonlocal last
        session.print_line(event.model_dump_json())
        last = event.id
        session.resume_command = f"{command} --after {last}"

    end = float("inf") if timeout is None else time.monotonic() + timeout
    try:
        over = look().is_finished or _show_until_finished(
            EventFeed([partial(read, last_event_id=after)]), look, show, end
        )
        for event in read(last_event_id=last, follow=False):
            show(event)
    except ServiceUnavailable as error:
        raise _connection_lost(session, error) from error
    if not over:
        raise _watch_timeout(session, timeout)


def _show_until_finished(
    feed: EventFeed, look: Callable[[], Snapshot], show: Callable[["Event"], None], end: float
) -> bool:
    """Until nobody is active; False when the moment `end` of the monotonic clock comes first."""
    active: set[UUID] = set()
    while (left := end - time.monotonic()) > 0:
        event = feed.next_event(min(FALLBACK_POLL_S, left))
        if event is None and feed.failure is not None:
            raise feed.failure
        if event is not None:
            show(event)
            if event.event != "stopped" and event.status not in TERMINAL:
                active.add(event.participant_id)
                continue
            active.discard(event.participant_id)
        # Nobody whom we know of is on the way, or nothing happened for a while: then it is worth asking.
        if (not active or event is None) and _is_finished(look):
            return True
    return False


def _is_finished(look: Callable[[], Snapshot]) -> bool:
    try:
        return look().is_finished
    except ServiceUnavailable:
        # Whether it comes back, the feed will tell.
        return False


def _connection_lost(session: CommandContext, error: ServiceUnavailable) -> ServiceUnavailable:
    hint = f"The run goes on by itself. Watch on with: {session.resume_command}"
    return ServiceUnavailable(str(error), suggestions=(*error.suggestions, hint))


def _watch_timeout(session: CommandContext, timeout: float | None) -> WatchTimeout:
    return WatchTimeout(f"not over after {timeout:g} s; it goes on", suggestions=(session.resume_command,))


def _is_study(session: CommandContext, ids: list[str]) -> bool:
    try:
        session.client.study_get(ids[0], "summary")
    except NotFound:
        return False
    return True
