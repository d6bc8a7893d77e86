"""Views of a participant, its journey and its transcript."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from understudy.cli.render import empty_table, key_value_table, plain, status_text, usage_text
from understudy.domain.text import format_value

if TYPE_CHECKING:
    from understudy.envelopes.participants import Interaction, Participant, Transcript
    from understudy.envelopes.studies import StudyTranscripts

_ROLE_STYLES = {"user": "bold magenta", "person": "bold", "environment": "cyan", "system": "dim"}


def participant_view(participant: "Participant") -> RenderableType:
    source = participant.extended_from
    title = Text.assemble(
        ("Participant ", "bold"),
        plain(participant.alias, "bold"),
        "  ",
        plain(participant.person_name),
        "  ",
        status_text(participant.status),
    )
    return Group(
        title,
        key_value_table(
            id=participant.id,
            study=participant.study_id or "",
            ask="" if participant.ask_id is None else f"{participant.ask_id}, round {participant.round}",
            person=participant.person_id,
            outcome=participant.outcome or "",
            error=": ".join(filter(None, (participant.error_kind, participant.error_message))),
            interactions=f"{participant.interaction_count} of at most {participant.max_interactions}",
            continues_from=f"{source}, at {participant.branched_at}" if source else "",
            instruction=participant.instruction or "",
            model=usage_text(participant.usage),
            likely_stuck=plain(participant.stuck_reason or "", "yellow"),
        ),
    )


def journey_view(participant: "Participant", interactions: "Iterable[Interaction]") -> RenderableType:
    """Shows page, action and thought per step; inherited steps dim; the instruction at the branch point."""
    table = empty_table("#", "where", "did", "thought", "mood", apart=1)
    instruction_shown = not participant.instruction
    last_page: Mapping[str, Any] = {}
    for step in interactions:
        own = step.participant_id == participant.id
        if own and not instruction_shown:
            instruction_shown = True
            instruction = plain(participant.instruction, "magenta")
            table.add_row("", "", plain("instructed", "magenta"), instruction, "")
        style = "" if own else "dim"
        table.add_row(
            plain(step.index, style),
            _location_text(step.observation, style),
            _action_text(step.action, step.result, style),
            plain(step.thought, style),
            sentiment_text(step.sentiment),
        )
        last_page = step.result
    if last_page.get("url"):
        table.add_row("", _location_text(last_page, ""), plain("ended here", "dim"), "", "")
    if not table.row_count:
        return plain("  No interactions yet.", "dim")
    return Group(Text(), table)


def transcript_view(transcript: "Transcript") -> RenderableType:
    table = empty_table("#", "", "", show_header=False, apart=1)
    for item in transcript.items:
        index = "" if item.index is None else str(item.index)
        cell = plain(item.content)
        if item.thought:
            cell.append_text(Text.assemble("\n", plain(f"({item.thought})", "dim")))
        table.add_row(plain(index, "dim"), plain(item.role, _ROLE_STYLES[item.role]), cell)
    return table


def transcripts_view(study: "StudyTranscripts") -> RenderableType:
    views: list[RenderableType] = []
    for row in study.transcripts:
        heading = Text.assemble(plain(row.alias, "bold"), "  ", plain(row.person_name), "  ", status_text(row.status))
        views += [Text(), heading, transcript_view(row)]
    return Group(*views)


def _location_text(observation: Mapping[str, Any], style: str) -> Text:
    lines = [plain(observation.get("title") or "", style), plain(observation.get("url") or "", "dim")]
    return Text("\n").join(line for line in lines if line.plain)


def _action_text(action: Mapping[str, Any], result: Mapping[str, Any], style: str) -> Text:
    text = plain(action.get("kind", ""), f"bold {style}".strip())
    if action.get("target"):
        text.append_text(Text.assemble(" ", plain(action["target"], style)))
    if action.get("value") is not None:
        text.append_text(Text.assemble(": ", plain(format_value(action["value"]), style)))
    if result.get("problem"):
        text.append_text(Text.assemble("\n", plain(result["problem"], "red")))
    return text


def sentiment_text(sentiment: float) -> Text:
    style = "green" if sentiment > 0.25 else "red" if sentiment < -0.25 else "dim"
    return Text(f"{sentiment:+.1f}", style)
