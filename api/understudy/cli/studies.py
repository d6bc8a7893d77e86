"""Views of studies and their participants."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.cli.failures import reason_lines
from understudy.cli.render import (
    STATUS_STYLES,
    counts_text,
    empty_table,
    extend_hint,
    format_counts,
    key_value_table,
    plain,
    status_text,
    usage_text,
)
from understudy.cli.success_conditions import success_words
from understudy.domain.lifecycle import Outcome

if TYPE_CHECKING:
    from understudy.envelopes.base import Page
    from understudy.envelopes.participants import Participant
    from understudy.envelopes.studies import Study, StudyFull, StudySummary


def study_table(studies: "Sequence[Study]") -> Table:
    table = empty_table("study", "name", "task")
    for study in studies:
        table.add_row(plain(study.alias), plain(study.name), plain(study.assignment.task))
    return table


def study_view(study: "StudyFull", summary: "StudySummary", participants: "Page[Participant]") -> RenderableType:
    """Shows a study with its iterations, counts and the first page of its participants."""
    views: list[RenderableType] = [
        _title(study.alias, study.name),
        key_value_table(
            task=study.assignment.task,
            success_when=success_words(study.assignment.success),
            **_counts(summary),
        ),
    ]
    if study.iterations:
        table = empty_table("iteration", "", "where", "mind", "cap")
        for iteration in study.iterations:
            table.add_row(
                plain(iteration.alias),
                plain(iteration.label),
                plain(iteration.content.get("url") or iteration.content.get("environment", "")),
                plain(iteration.mind),
                plain(iteration.max_interactions or ""),
            )
        views += [Text(), table]
    if participants.items:
        views += [Text(), participants_table(participants.items)]
        views += reason_lines([row for row in participants.items if row.error_kind], summary.failed_count)
        if capped := next((row for row in participants.items if row.outcome == Outcome.CAP_REACHED), None):
            views.append(extend_hint(capped.alias))
    return Group(*views)


def summary_view(summary: "StudySummary") -> RenderableType:
    return Group(_title(summary.alias, summary.name), key_value_table(**_counts(summary)))


def participants_table(participants: "Sequence[Participant]") -> Table:
    """Shows one participant per line; with highlights if the view has them."""
    highlights = any(getattr(row, "highlight", None) for row in participants)
    extra = ["highlight"] if highlights else []
    table = empty_table("participant", "name", "status", "outcome", "steps", *extra)
    for row in participants:
        cells = [
            plain(row.alias),
            plain(row.person_name),
            _status_cell(row),
            plain(row.error_kind, "red") if row.error_kind else plain(row.outcome or ""),
            plain(f"{row.interaction_count}/{row.max_interactions}"),
        ]
        if highlights:
            cells.append(plain(getattr(row, "highlight", None) or ""))
        table.add_row(*cells)
    return table


def _status_cell(participant: "Participant") -> Text:
    status = status_text(participant.status)
    return Text.assemble(status, (" stuck?", "yellow")) if participant.likely_stuck else status


def summary_counts(summary: "StudySummary") -> dict[str, int]:
    return {status: getattr(summary, f"{status}_count") for status in STATUS_STYLES}


def _title(alias: str, name: str) -> Text:
    return Text.assemble(("Study ", "bold"), plain(alias, "bold"), "  ", plain(name))


def _counts(summary: "StudySummary") -> dict[str, object]:
    return {
        "participants": counts_text(summary_counts(summary)),
        "outcomes": format_counts(summary.outcomes),
        "mood": format_counts(summary.sentiment),
        "model": usage_text(summary.usage),
        "workspace today": usage_text(summary.workspace_usage_today),
    }
