"""Participants that failed: why they failed, and the exit code of the command that waited for them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import RenderableType

from understudy.cli.console import CommandContext
from understudy.cli.render import plain
from understudy.domain.errors import UnderstudyError
from understudy.domain.lifecycle import Status

if TYPE_CHECKING:
    from understudy.envelopes.participants import Participant
    from understudy.envelopes.simulations import RunFailure, RunSuccess

#: Failed participants whose reasons a command shows.
_MAX_REASONS = 5
_FAILED = 1

ExitZero = Annotated[
    bool, typer.Option("--exit-zero", metavar="", help="Exit with 0 although participants failed; else with 1.")
]


def failed_ids(response: "RunSuccess | RunFailure") -> list[UUID]:
    """Returns the participants of the response that failed."""
    return [state.participant_id for state in response.participants or () if state.status == Status.FAILED]


def read_reasons(session: CommandContext, ids: Sequence[UUID]) -> list[RenderableType]:
    """Returns a line per failed participant with its name and the reason, as far as the server answers."""
    found: list[Participant] = []
    for id_ in ids[:_MAX_REASONS]:
        try:
            found.append(session.client.participant_get(id_))
        except UnderstudyError:
            # The table already says that it failed; the run itself is over.
            return [plain(f"Why it failed: understudy get {id_}", "dim")]
    return reason_lines(found, len(ids))


def reason_lines(participants: "Iterable[Participant]", total: int) -> list[RenderableType]:
    """Returns `t-1f3 (Ana Ruiz) failed: environment_error: …` for each, and how many more there are."""
    lines: list[RenderableType] = []
    for row in list(participants)[:_MAX_REASONS]:
        reason = ": ".join(filter(None, (row.error_kind, row.error_message)))
        lines.append(plain(f"{row.alias} ({row.person_name}) failed: {reason}", "red"))
    if total > len(lines):
        lines.append(plain(f"… and {total - len(lines)} more failed", "red"))
    return lines


def exit_if_failed(number: int, *, exit_zero: bool) -> None:
    """Exits with 1 if participants failed, unless `exit_zero`. Source: contract section 7."""
    if number and not exit_zero:
        raise typer.Exit(_FAILED)
