"""Plans an extend before anything is written. Source: contract section 4."""

from typing import NamedTuple

from understudy.domain.errors import ValidationError
from understudy.domain.lifecycle import TERMINAL, Status

DEFAULT_ADDITIONAL_STEPS = 10
MAX_INSTRUCTION_LENGTH = 4_000


class Extension(NamedTuple):
    """An extend to try; the statement that creates the child checks the source's status."""

    additional_steps: int
    #: None: the child inherits its source's instruction.
    instruction: str | None


class SourceNotTerminal(ValidationError):
    """The source is active or a draft."""


def plan_extension(additional_steps: int, instruction: str | None, max_additional_steps: int) -> Extension:
    """Returns the extend with a trimmed instruction. Raises ValidationError with the bound; never clamps."""
    if not 1 <= additional_steps <= max_additional_steps:
        raise ValidationError(
            f"additional_steps must be from 1 to {max_additional_steps}; {additional_steps} was given.",
            suggestions=(f"Use at most {max_additional_steps}, and extend the new participant again.",),
        )
    text = (instruction or "").strip()
    if len(text) > MAX_INSTRUCTION_LENGTH:
        raise ValidationError(
            f"instruction must have at most {MAX_INSTRUCTION_LENGTH:,} characters; it has {len(text):,}."
        )
    return Extension(additional_steps, text or None)


def source_not_terminal(alias: str, status: Status) -> SourceNotTerminal:
    """Returns the error that `alias` cannot be extended now, and what to do first."""
    statuses = ", ".join(sorted(TERMINAL))
    return SourceNotTerminal(
        f"Participant {alias} is {status}; only a terminal one ({statuses}) can be extended.",
        suggestions=("Cancel it with simulation_cancel, or wait for it with simulation_wait, then extend it.",),
    )
