"""The command `watch`: follows a run as a live table or as events."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from understudy.cli.console import CommandContext
from understudy.cli.failures import ExitZero, exit_if_failed, failed_ids, read_reasons, reason_lines
from understudy.cli.feed import EventFeed
from understudy.cli.numbers import seconds, whole_number
from understudy.cli.objects import kind_of
from understudy.cli.progress import (
    FALLBACK_POLL_S,
    Snapshot,
    ask_poller,
    available_rows,
    follow_run,
    participants_poller,
    study_poller,
)
from understudy.domain.errors import NotFound, RateLimited, ServiceUnavailable, UnderstudyError, ValidationError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import TERMINAL, Status

if TYPE_CHECKING:
    from understudy.envelopes.events import Event

Source = Callable[[], "Iterator[Event]"]

#: Maximum event streams; more participants are polled instead.
_MAX_STREAMS = 5


class WatchTimeout(UnderstudyError):
    """The watched run is not finished within the timeout."""

    code = "wait_timeout"


def watch(
    session: CommandContext,
    ids: Annotated[list[str], typer.Argument(metavar="S|A|T…", help="One study or ask, or one or more participants.")],
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="Stop watching after SECONDS; the run continues.",
            show_default="no timeout",
        ),
    ] = None,
    *,
    events: Annotated[bool, typer.Option("--events", metavar="", help="Print each event as a line of JSON.")] = False,
    after: Annotated[
        int | None,
        typer.Option(
            parser=whole_number,
            metavar="ID",
            help="With --events: start after the event with this id.",
            show_default="first event",
        ),
    ] = None,
    exit_zero: ExitZero = False,
) -> None:
    """Watch live until all participants have finished. Ctrl-C stops watching; the run continues.

    Exit code 5 on timeout, 1 if a participant failed.

    With --json it prints the summary of a study or ask, or the output of `wait`,
    once all have finished. With --events it prints each event once, immediately.
    """
    if after is not None and not events:
        raise ValidationError("--after requires --events")
    kinds = {kind_of(id_) for id_ in ids}
    if kinds == {None}:
        # A UUID names no kind.
        kinds = {_kind_of_uuid(session, ids[0])}
    if kinds == {Kind.PARTICIPANT}:
        if not events:
            _watch_participants(session, ids, timeout, exit_zero=exit_zero)
        elif len(ids) > 1:
            raise ValidationError("--events takes one study, ask or participant")
        else:
            _print_events(session, ids[0], Kind.PARTICIPANT, after, timeout, exit_zero=exit_zero)
        return
    (kind,) = kinds if len(kinds) == 1 else (None,)
    if len(ids) > 1 or kind not in {Kind.STUDY, Kind.ASK}:
        raise ValidationError("watch takes one study or ask, or one or more participants")
    if events:
        _print_events(session, ids[0], kind, after, timeout, exit_zero=exit_zero)
    elif kind is Kind.ASK:
        watch_ask(session, ids[0], timeout, exit_zero=exit_zero)
    else:
        watch_study(session, ids[0], timeout, exit_zero=exit_zero)


def watch_study(
    session: CommandContext,
    study: str,
    timeout: float | None,
    *,
    run: Sequence[UUID] | None = None,
    exit_zero: bool = False,
) -> None:
    """Watches until no participant of the study is active. Raises WatchTimeout after `timeout` seconds.

    Exits with 1 if a participant failed, unless `exit_zero`: one of `run` if given, else of the whole study.
    """
    session.resume_command = f"understudy watch {study}"
    out = None if session.as_json else session.out
    poll = study_poller(session.client, study, available_rows(session.out) if out else 0)
    last = _watch(session, poll, [partial(session.client.events, study_id=study)], timeout)
    failed = last.counts.get("failed", 0)
    if session.as_json:
        session.show()
    elif failed and run is not None:
        # Earlier runs of the study may have failed ones too.
        of_run = failed_ids(session.client.simulation_wait(run, timeout=1.0))
        failed = len(of_run)
        session.print_views(read_reasons(session, of_run))
    elif failed:
        rows = session.client.participant_list(study_id=study, status="failed", limit=5)
        session.print_views(reason_lines(rows.items, failed))
    if not session.as_json:
        session.out.print(f"Results: understudy get {study}", style="dim")
    exit_if_failed(failed, exit_zero=exit_zero)


def watch_ask(session: CommandContext, ask: str, timeout: float | None, *, exit_zero: bool = False) -> None:
    """Watches until no participant of the ask is active. Raises WatchTimeout after `timeout` seconds.

    Exits with 1 if one failed, unless `exit_zero`.
    """
    session.resume_command = f"understudy watch {ask}"
    out = None if session.as_json else session.out
    poll = ask_poller(session.client, ask, available_rows(session.out) if out else 0)
    last = _watch(session, poll, [partial(session.client.events, ask_id=ask)], timeout)
    failed = last.counts.get("failed", 0)
    if session.as_json:
        session.client.ask_get(ask)
        session.show()
    else:
        if failed:
            rows = session.client.participant_list(ask_id=ask, status="failed", limit=5)
            session.print_views(reason_lines(rows.items, failed))
        session.out.print(f"Answers: understudy get {ask}", style="dim")
    exit_if_failed(failed, exit_zero=exit_zero)


def _watch_participants(session: CommandContext, ids: list[str], timeout: float | None, *, exit_zero: bool) -> None:
    session.resume_command = f"understudy watch {shlex.join(ids)}"
    sources: list[Source] = [partial(session.client.events, participant_id=id_) for id_ in ids]
    poll = participants_poller(session.client, ids)
    last = _watch(session, poll, sources if len(ids) <= _MAX_STREAMS else [], timeout)
    failed = [row for row in last.rows if row.status == Status.FAILED]
    if session.as_json:
        session.client.simulation_wait(ids, timeout=1.0)
        session.show()
    else:
        session.print_views(reason_lines(failed, len(failed)))
        session.out.print(f"Journey: understudy get {ids[0]}", style="dim")
    exit_if_failed(len(failed), exit_zero=exit_zero)


def _watch(
    session: CommandContext, poll: Callable[[], Snapshot], sources: list[Source], timeout: float | None
) -> Snapshot:
    """Follows the run to its end; returns its last state. Raises WatchTimeout, ServiceUnavailable."""
    out = None if session.as_json else session.out
    latest: list[Snapshot] = []

    def poll_and_keep() -> Snapshot:
        latest[:] = [poll()]
        return latest[0]

    try:
        finished = follow_run(poll_and_keep, out, limit_s=timeout, feed=EventFeed(sources))
    except (ServiceUnavailable, RateLimited) as error:
        raise _connection_lost(session, error) from error
    if not finished:
        raise _watch_timeout(session, timeout)
    return latest[0]


def _print_events(
    session: CommandContext, id_: str, kind: Kind, after: int | None, timeout: float | None, *, exit_zero: bool
) -> None:
    """Prints each event until no participant of the scope is active; then prints the remaining events."""
    client, command = session.client, f"understudy watch {id_} --events"
    session.resume_command = command if after is None else f"{command} --after {after}"
    scope: dict[str, Any] = {f"{kind.name.lower()}_id": id_}
    read = partial(client.events, **scope)
    pollers = {Kind.STUDY: partial(study_poller, client, id_, 0), Kind.ASK: partial(ask_poller, client, id_, 0)}
    poll = pollers[kind]() if kind in pollers else participants_poller(client, [id_])
    last = after

    def show(event: "Event") -> None:
        nonlocal last
        session.print_text(event.model_dump_json(), is_json=True)
        last = event.id
        session.resume_command = f"{command} --after {last}"

    end = float("inf") if timeout is None else time.monotonic() + timeout
    try:
        finished = poll().is_finished or _show_until_finished(
            EventFeed([partial(read, last_event_id=after)]), poll, show, end
        )
        for event in read(last_event_id=last, follow=False):
            show(event)
    except (ServiceUnavailable, RateLimited) as error:
        raise _connection_lost(session, error) from error
    if not finished:
        raise _watch_timeout(session, timeout)
    exit_if_failed(poll().counts.get("failed", 0), exit_zero=exit_zero)


def _show_until_finished(
    feed: EventFeed, poll: Callable[[], Snapshot], show: Callable[["Event"], None], end: float
) -> bool:
    """Shows events until no participant is active; returns False at `end` (monotonic clock)."""
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
        # Poll only if no known participant is active, or if no event arrived for a while.
        if (not active or event is None) and _is_finished(poll):
            return True
    return False


def _is_finished(poll: Callable[[], Snapshot]) -> bool:
    try:
        return poll().is_finished
    except (ServiceUnavailable, RateLimited):
        # The feed reports a lasting failure.
        return False


def _connection_lost(
    session: CommandContext, error: ServiceUnavailable | RateLimited
) -> ServiceUnavailable | RateLimited:
    hint = f"The run continues. Continue watching with: {session.resume_command}"
    return type(error)(str(error), suggestions=(*error.suggestions, hint))


def _watch_timeout(session: CommandContext, timeout: float | None) -> WatchTimeout:
    return WatchTimeout(f"not finished in {timeout:g} s; it continues", suggestions=(session.resume_command,))


def _kind_of_uuid(session: CommandContext, id_: str) -> Kind:
    """Returns the kind of what has this UUID: a study, an ask, otherwise a participant."""
    for kind, read in ((Kind.STUDY, session.client.study_get), (Kind.ASK, session.client.ask_get)):
        try:
            read(id_)
        except NotFound:
            continue
        return kind
    return Kind.PARTICIPANT
