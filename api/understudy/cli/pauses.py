"""The commands `pause` and `resume` of a study."""

from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.console import CommandContext
from understudy.cli.render import plain

if TYPE_CHECKING:
    from understudy.envelopes.studies import StudyPause

StudyRef = Annotated[str, typer.Argument(metavar="S", help="Study: alias (s-b2c) or UUID.")]


def pause(session: CommandContext, study: StudyRef) -> None:
    """Pause a study: nothing of it runs until you resume it.

    Participants that run stop after their next interaction and keep it. They
    and the waiting ones stay pending. You can repeat the command safely.
    """
    answer = session.client.study_pause(study)
    session.show(
        plain(f"Study {answer.alias} is paused. {_counts(answer)}"),
        plain(f"Continue: understudy resume {answer.alias}", "dim"),
    )


def resume(session: CommandContext, study: StudyRef) -> None:
    """Resume a paused study: its participants continue where they stopped.

    To continue a participant that has ended, use `extend`.
    """
    answer = session.client.study_resume(study)
    session.show(
        plain(f"Study {answer.alias} is not paused. {_counts(answer)}"),
        plain(f"Watch: understudy watch {answer.alias}", "dim"),
    )


def _counts(answer: "StudyPause") -> str:
    return f"{answer.pending_count:,} participants are pending, {answer.running_count:,} running."
