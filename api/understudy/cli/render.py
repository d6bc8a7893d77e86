"""Common parts of all views, and the views of runs, cancels and errors.

Names, thoughts and page titles come from websites: views show them as plain text without control characters.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.domain.lifecycle import Outcome
from understudy.domain.unprintable import UNPRINTABLE

if TYPE_CHECKING:
    from uuid import UUID

    from understudy.domain.errors import UnderstudyError
    from understudy.envelopes.simulations import CancelEnvelope, NextAction, RunFailure, RunSuccess
    from understudy.envelopes.usage import Usage

#: Statuses in lifecycle order, with their styles.
STATUS_STYLES = {
    "draft": "dim",
    "pending": "blue",
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
}
#: Maximum participant rows of a run or a cancel.
_MAX_ROWS = 20
# On a narrow terminal only prose wraps; ids, numbers and statuses stay on one line.
_NO_WRAP_COLUMNS = {"#", "participant", "person", "study", "iteration", "status", "outcome", "steps", "age", "mood"}
_NO_WRAP_COLUMNS |= {
    "ask",
    "round",
    "rounds",
    "variant",
    "picks",
    "rating",
    "pick",
    "ratings",
    "created",
    "state",
    "revoked",
}
# Tables also need no line breaks and tabs.
_CONTROL = re.compile(f"[\t\n{UNPRINTABLE}]+")


def plain(text: object, style: str = "") -> Text:
    """Returns text without markup and without control characters."""
    return Text(_printable(str(text)), style=style)


def printable(text: str) -> str:
    """Returns the lines without control characters, for text that is not rendered as plain text."""
    return "\n".join(_printable(line) for line in text.split("\n"))


def _printable(text: str) -> str:
    # A string can contain half a surrogate pair, but a terminal cannot print it.
    return _CONTROL.sub(" ", text.encode(errors="replace").decode())


def empty_table(*names: str, show_header: bool = True, apart: int = 0) -> Table:
    """Returns an empty table without borders; `apart`: blank lines between rows."""
    table = Table(box=None, show_header=show_header, header_style="dim", pad_edge=False, padding=(0, 2, apart, 0))
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name in _NO_WRAP_COLUMNS)
    return table


def key_value_table(**values: object) -> Table:
    """Returns a table of names and values, one per line, without empty values."""
    table = empty_table("", "", show_header=False)
    for name, value in values.items():
        if str(value):
            cell = value if isinstance(value, Text) else plain(value)
            table.add_row(plain(f"  {name.replace('_', ' ')}", "dim"), cell)
    return table


def format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number)


def usage_text(usage: "Usage | None") -> str:
    """Returns `12 calls, 34,000 tokens read, 2,100 written, 41.2 s, cost 0.0424`; empty without usage."""
    if usage is None:
        return ""
    text = f"{usage.calls:,} calls, {usage.input_tokens:,} tokens read, {usage.output_tokens:,} written"
    return f"{text}, {usage.seconds:.1f} s" + (f", cost {usage.cost:.4f}" if usage.cost is not None else "")


def status_text(status: str) -> Text:
    return plain(status, STATUS_STYLES.get(status, ""))


def counts_text(counts: Mapping[str, int]) -> Text:
    """Returns `3 running · 2 completed`, without statuses that have no participants."""
    parts = [Text.assemble(f"{counts[status]} ", status_text(status)) for status in STATUS_STYLES if counts.get(status)]
    return Text(" · ").join(parts) if parts else Text("no participants", "dim")


def error_view(error: "UnderstudyError") -> RenderableType:
    return _failure(error.code, str(error), error.suggestions)


def run_view(
    response: "RunSuccess | RunFailure", heading: str = "", reasons: Sequence[RenderableType] = ()
) -> RenderableType:
    """Shows a RunStudyResponse: dispatched participants, their states, `reasons` of failures and the next action."""
    views: list[RenderableType] = [plain(line, "bold") for line in heading.splitlines()]
    if not response.ok:
        views.append(_failure(response.error_code, response.error, response.suggestions))
        if response.progress:
            views.append(plain(f"  {response.progress.done} of {response.progress.total} finished.", "dim"))
    if response.participants:
        dispatch = response.dispatch
        aliases = dict(zip(dispatch.participant_ids, dispatch.aliases or (), strict=False)) if dispatch else {}
        table = empty_table("participant", "status", "outcome", "interactions", "error")
        for state in response.participants[:_MAX_ROWS]:
            table.add_row(
                plain(aliases.get(state.participant_id, str(state.participant_id))),
                status_text(state.status),
                plain(state.outcome or ""),
                str(state.interaction_count),
                plain(state.error_kind or "", "red"),
            )
        views += [table, *_more_rows(len(response.participants))]
        views += reasons
        views += _extend_hint([(aliases.get(one.participant_id), one.outcome) for one in response.participants])
    if response.next_action:
        views.append(_next(response.next_action))
    return Group(*views)


def _extend_hint(outcomes: Iterable[tuple[str | None, str | None]]) -> list[RenderableType]:
    """Returns how to continue the first participant that reached its cap; empty if none did."""
    capped = [alias for alias, outcome in outcomes if alias and outcome == Outcome.CAP_REACHED]
    return [extend_hint(capped[0])] if capped else []


def extend_hint(alias: str) -> Text:
    """Returns the command that lets a participant continue beyond its cap."""
    return plain(f"{alias} reached its cap. To continue: understudy extend {alias} --steps 10", "dim")


def cancel_view(envelope: "CancelEnvelope", aliases: "Mapping[UUID, str]") -> RenderableType:
    results = _cancel_results(envelope)
    table = empty_table("participant", "", show_header=False)
    for participant_id, result in results[:_MAX_ROWS]:
        table.add_row(plain(aliases.get(participant_id, participant_id)), result)
    summary = envelope.summary
    totals = f"{summary.cancelled_count} cancelled, {summary.skipped_count} skipped"
    if summary.failed_count:
        totals += f", {summary.failed_count} could not be cancelled"
    views: list[RenderableType] = [table, *_more_rows(len(results))] if results else []
    views.append(plain(totals, "bold"))
    if summary.cancelled_count:
        views.append(plain("To continue one: understudy extend PARTICIPANT", "dim"))
    return Group(*views)


def shown_participants(envelope: "CancelEnvelope") -> "list[UUID]":
    """Returns the participants that `cancel_view` names."""
    return [participant_id for participant_id, _ in _cancel_results(envelope)[:_MAX_ROWS]]


def _cancel_results(envelope: "CancelEnvelope") -> "list[tuple[UUID, Text]]":
    # Failures come first: the list may be truncated.
    return [
        *((item.participant_id, plain(item.status, "red")) for item in envelope.cancelled if not item.success),
        *((item.participant_id, status_text("cancelled")) for item in envelope.cancelled if item.success),
        *((item.participant_id, plain(f"skipped: {item.reason}", "dim")) for item in envelope.skipped),
    ]


def _more_rows(total: int) -> list[RenderableType]:
    return [plain(f"… and {total - _MAX_ROWS} more", "dim")] if total > _MAX_ROWS else []


def _failure(code: str, error: str, suggestions: "tuple[str, ...] | list[str]") -> RenderableType:
    first = Text.assemble((f"[{code}]", "bold red"), " ", plain(error))
    return Group(first, *(plain(f"  {suggestion}", "dim") for suggestion in suggestions))


def _next(action: "NextAction") -> RenderableType:
    return Group(Text.assemble(("Next: ", "bold"), plain(action.cli)), plain(f"      {action.why}", "dim"))
