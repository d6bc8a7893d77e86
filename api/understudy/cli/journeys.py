"""How a participant and its journey look to a person."""

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
    one = participant
    title = Text.assemble(
        ("Participant ", "bold"),
        plain(one.alias, "bold"),
        "  ",
        plain(one.person_name),
        "  ",
        status_text(one.status),
    )
    return Group(
        title,
        key_value_table(
            id=one.id,
            study=one.study_id or "",
            ask="" if one.ask_id is None else f"{one.ask_id}, round {one.round}",
            person=one.person_id,
            outcome=one.outcome or "",
            error=": ".join(filter(None, (one.error_kind, one.error_message))),
            interactions=f"{one.interaction_count} of at most {one.max_interactions}",
            goes_on_from="" if one.extended_from is None else f"{one.extended_from}, at {one.branched_at}",
            instruction=one.instruction or "",
            model=usage_text(one.usage),
            likely_stuck="" if one.stuck_reason is None else plain(one.stuck_reason, "yellow"),
        ),
    )


def journey_view(participant: "Participant", interactions: "Iterable[Interaction]") -> RenderableType:
    """Step by step: where, what was done there, and what went through the person's mind.

    Steps of those it goes on from are dim; its instruction stands where it was told.
    """
    table = empty_table("#", "where", "did", "thought", "mood", apart=1)
    told = not participant.instruction
    arrived: Mapping[str, Any] = {}
    for step in interactions:
        own = step.participant_id == participant.id
        if own and not told:
            told = True
            table.add_row("", "", plain("is told", "magenta"), plain(participant.instruction, "magenta"), "")
        style = "" if own else "dim"
        table.add_row(
            plain(step.index, style),
            _location_text(step.observation, style),
            _action_text(step.action, step.result, style),
            plain(step.thought, style),
            sentiment_text(step.sentiment),
        )
        arrived = step.result
    if arrived.get("url"):
        table.add_row("", _location_text(arrived, ""), plain("ended here", "dim"), "", "")
    if not table.row_count:
        return plain("  No interactions yet.", "dim")
    return Group(Text(), table)


def transcript_view(transcript: "Transcript") -> RenderableType:
    table = empty_table("#", "", "", show_header=False, apart=1)
    for item in transcript.items:
        index = "" if item.index is None else str(item.index)
        said = plain(item.content)
        if item.thought:
            said.append_text(Text.assemble("\n", plain(f"({item.thought})", "dim")))
        table.add_row(plain(index, "dim"), plain(item.role, _ROLE_STYLES[item.role]), said)
    return table


def transcripts_view(study: "StudyTranscripts") -> RenderableType:
    views: list[RenderableType] = []
    for one in study.transcripts:
        heading = Text.assemble(
            plain(one.alias, "bold"), "  ", plain(one.person_name), "  ", status_text(one.status)
        )
        views += [Text(), heading, transcript_view(one)]
    return Group(*views)


def _location_text(observation: Mapping[str, Any], style: str) -> Text:
    lines = [plain(observation.get("title") or "", style), plain(observation.get("url") or "", "dim")]
    return Text("\n").join(line for line in lines if line.plain)


def _action_text(action: Mapping[str, Any], result: Mapping[str, Any], style: str) -> Text:
    deed = plain(action.get("kind", ""), f"bold {style}".strip())
    if action.get("target"):
        deed.append_text(Text.assemble(" ", plain(action["target"], style)))
    if action.get("value") is not None:
        deed.append_text(Text.assemble(": ", plain(format_value(action["value"]), style)))
    if result.get("problem"):
        deed.append_text(Text.assemble("\n", plain(result["problem"], "red")))
    return deed


def sentiment_text(sentiment: float) -> Text:
    style = "green" if sentiment > 0.25 else "red" if sentiment < -0.25 else "dim"
    return Text(f"{sentiment:+.1f}", style)
