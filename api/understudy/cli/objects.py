"""The command `get`: shows stored objects."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from understudy.cli.ask_views import ask_view, people_table, settings_view
from understudy.cli.console import CommandContext
from understudy.cli.journey_curve import whole_journey_view
from understudy.cli.journeys import journey_view, participant_view, transcript_view, transcripts_view
from understudy.cli.options import MAX_PAGE, Cursor, Limit
from understudy.cli.people import person_view
from understudy.cli.render import plain
from understudy.cli.studies import participants_table, study_table, study_view, summary_view
from understudy.domain.errors import NotFound, ValidationError
from understudy.domain.ids import Kind, parse_ref
from understudy.domain.lifecycle import Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from understudy.envelopes.asks import AskPerParticipant

View = Literal["summary", "full", "per_participant", "transcripts", "interactions", "transcript", "journey"]
_VIEWS_BY_KIND = {
    Kind.STUDY: {"summary", "full", "per_participant", "transcripts"},
    Kind.ASK: {"summary", "full", "per_participant"},
    Kind.PARTICIPANT: {"interactions", "transcript", "journey"},
}
#: Kinds whose participants can be listed by status.
_WITH_PARTICIPANTS = {Kind.STUDY, Kind.ITERATION, Kind.ASK}
#: Possible kinds of a bare UUID, most likely first.
_KINDS = (Kind.PARTICIPANT, Kind.STUDY, Kind.PERSON, Kind.ITERATION, Kind.ASK)


class _GetRequest(NamedTuple):
    id_: str
    view: str | None
    own: bool
    limit: int | None
    cursor: str | None
    status: str | None


def get(
    session: CommandContext,
    id_: Annotated[
        str | None, typer.Argument(metavar="ID", help="Alias or UUID of an object. Without it: list your studies.")
    ] = None,
    *,
    view: Annotated[
        View | None,
        typer.Option(
            metavar="VIEW",
            help="View of a study or ask: summary, full, per_participant; of a study also transcripts. "
            "View of a participant: interactions, transcript, journey.",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        Status | None,
        typer.Option(
            metavar="STATUS",
            help="List the participants of this status in a study, iteration or ask.",
            show_default=False,
        ),
    ] = None,
    own: Annotated[
        bool, typer.Option("--own", metavar="", help="Only the own interactions of an extended participant.")
    ] = False,
    limit: Limit = None,
    cursor: Cursor = None,
) -> None:
    """Show studies, one study, an ask's answers, a participant's journey, or a person."""
    if id_ is None and status:
        _show_list(session, _GetRequest("", None, own, limit, cursor, status))
        return
    if id_ is None:
        studies = session.client.study_list(limit=limit, cursor=cursor)
        if not studies.items:
            session.show(plain("No studies yet. Create one with `understudy run`.", "dim"))
            return
        command = "get" if limit is None else f"get --limit {limit}"
        session.show(study_table(studies.items), *session.next_page_hint(studies.next_cursor, command))
        return
    kind = kind_of(id_)
    if view and status:
        raise ValidationError("--view and --status exclude each other: --status lists participants")
    wanted = _GetRequest(id_, view, own, limit, cursor, status)
    kinds = [candidate for candidate in ([kind] if kind else _KINDS) if _supports(candidate, wanted)]
    if not kinds:
        missing = f"view {view}" if view else "participants to list"
        raise ValidationError(f"{id_} has no {missing}", suggestions=("See `understudy get --help`.",))
    for candidate in kinds:
        try:
            if status:
                _show_list(session, wanted, **{f"{candidate.name.lower()}_id": id_})
            else:
                _SHOW[candidate](session, wanted)
        except NotFound:
            if kind:
                raise
        else:
            return
    raise NotFound(f"No object in this workspace has the id {id_}.")


def kind_of(id_: str) -> Kind | None:
    """Returns the kind of an alias; None for a UUID, which names no kind. Raises ValidationError."""
    for kind in _KINDS:
        try:
            ref = parse_ref(kind, id_, "ID")
        except ValidationError:
            continue
        return None if ref.uuid else kind
    raise ValidationError("ID must be a UUID or an alias: s- study, i- iteration, t- participant, a- ask, tp- person")


def _show_study(session: CommandContext, wanted: _GetRequest) -> None:
    if wanted.view == "summary":
        session.show(summary_view(session.client.study_get(wanted.id_, "summary")))
    elif wanted.view == "per_participant":
        rows = session.client.study_get(wanted.id_, "per_participant", limit=wanted.limit, cursor=wanted.cursor)
        table = participants_table(rows.participants)
        session.show(summary_view(rows), table, *_hint(session, wanted, rows.next_cursor))
    elif wanted.view == "transcripts":
        study = session.client.study_get(wanted.id_, "transcripts", limit=wanted.limit, cursor=wanted.cursor)
        view = transcripts_view(study)
        session.show(summary_view(study), view, *_hint(session, wanted, study.next_cursor))
    else:
        full = session.client.study_get(wanted.id_, "full")
        if session.as_json:
            session.show()
            return
        summary = session.client.study_get(wanted.id_, "summary")
        participants = session.client.participant_list(study_id=full.id, limit=wanted.limit, cursor=wanted.cursor)
        hint = _hint(session, wanted, participants.next_cursor)
        session.show(study_view(full, summary, participants), *hint)


def _show_participant(session: CommandContext, wanted: _GetRequest) -> None:
    if wanted.view == "transcript":
        session.show(transcript_view(session.client.participant_transcript(wanted.id_)))
        return
    if wanted.view == "journey":
        session.show(whole_journey_view(session.client.participant_journey(wanted.id_)))
        return
    if session.as_json:
        if wanted.view == "interactions":
            session.client.participant_interactions(
                wanted.id_, own=wanted.own, limit=wanted.limit, cursor=wanted.cursor
            )
        else:
            session.client.participant_get(wanted.id_)
        session.show()
        return
    participant = session.client.participant_get(wanted.id_)
    if wanted.limit is None and wanted.cursor is None:
        steps = session.client.participant_interactions_all(participant.id, own=wanted.own, limit=MAX_PAGE)
        session.show(participant_view(participant), journey_view(participant, steps))
        return
    page = session.client.participant_interactions(
        participant.id, own=wanted.own, limit=wanted.limit, cursor=wanted.cursor
    )
    hint = _hint(session, wanted, page.next_cursor)
    session.show(participant_view(participant), journey_view(participant, iter(page.items)), *hint)


def _show_person(session: CommandContext, wanted: _GetRequest) -> None:
    session.show(person_view(session.client.person_get(wanted.id_)))


def _show_iteration(session: CommandContext, wanted: _GetRequest) -> None:
    _show_list(session, wanted, iteration_id=wanted.id_)


def _show_ask(session: CommandContext, wanted: _GetRequest) -> None:
    if wanted.view == "summary":
        session.show(ask_view(session.client.ask_get(wanted.id_, "summary")))
        return
    ask: AskPerParticipant
    if wanted.view == "full":
        ask = full = session.client.ask_get(wanted.id_, "full", limit=wanted.limit, cursor=wanted.cursor)
        views = [ask_view(full), settings_view(full)]
    else:
        ask = session.client.ask_get(wanted.id_, "per_participant", limit=wanted.limit, cursor=wanted.cursor)
        views = [ask_view(ask)]
    hint = _hint(session, wanted, ask.next_cursor)
    session.show(*views, plain(""), people_table(ask), *hint)


def _show_list(
    session: CommandContext,
    wanted: _GetRequest,
    *,
    study_id: str | None = None,
    iteration_id: str | None = None,
    ask_id: str | None = None,
) -> None:
    page = session.client.participant_list(
        study_id=study_id,
        iteration_id=iteration_id,
        ask_id=ask_id,
        status=wanted.status,
        limit=wanted.limit,
        cursor=wanted.cursor,
    )
    session.show(participants_table(page.items), *_hint(session, wanted, page.next_cursor))


def _hint(session: CommandContext, wanted: _GetRequest, next_cursor: str | None) -> "list[RenderableType]":
    """Returns a line with the command for the next page; empty on the last page."""
    command = f"get {wanted.id_}".strip()
    for option in ("status", "view", "limit"):
        if (value := getattr(wanted, option)) is not None:
            command += f" --{option} {value}"
    if wanted.own:
        command += " --own"
    return session.next_page_hint(next_cursor, command)


def _supports(kind: Kind, wanted: _GetRequest) -> bool:
    if wanted.status is not None:
        return kind in _WITH_PARTICIPANTS
    return wanted.view is None or wanted.view in _VIEWS_BY_KIND.get(kind, ())


_SHOW: dict[Kind, Callable[[CommandContext, _GetRequest], None]] = {
    Kind.STUDY: _show_study,
    Kind.PARTICIPANT: _show_participant,
    Kind.PERSON: _show_person,
    Kind.ITERATION: _show_iteration,
    Kind.ASK: _show_ask,
}
