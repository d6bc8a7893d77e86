"""Envelopes of simulation_cancel and of all dispatches. Source: contract sections 3 and 5."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Outcome, Status, optional_field


class CancelledItem(Envelope):
    participant_id: UUID
    success: bool = Field(description="True if the participant is cancelled; this is final.")
    status: str = Field(description="`cancelled`, or `[code] message` if success is false.")


class SkippedItem(Envelope):
    participant_id: UUID
    reason: Literal["already_terminal", "not_dispatched"] = Field(
        description="already_terminal: it was terminal before; not_dispatched: it is a draft."
    )


class CancelSummary(Envelope):
    total: int = Field(description="Items in both lists.")
    cancelled_count: int = Field(description="Items with success.")
    skipped_count: int = Field(description="Items in `skipped`.")
    failed_count: int | None = optional_field("Items without success; absent if there are none.")


class CancelEnvelope(Envelope):
    cancelled: list[CancelledItem] = Field(description="Participants to which the cancel applied.")
    skipped: list[SkippedItem] = Field(description="Participants that were not active.")
    summary: CancelSummary


class Dispatch(Envelope):
    """The participants of a dispatch. Fields that do not apply are absent."""

    participant_ids: list[UUID] = Field(description="New participants; in a wait, the awaited ones.")
    aliases: list[str] | None = optional_field("Aliases in the same order.")
    study_id: UUID | None = optional_field("Study of the participants.")
    iteration_id: UUID | None = optional_field("Iteration of the participants.")
    ask_id: UUID | None = optional_field("Ask of the participants.")
    round: int | None = optional_field("Round of the ask.")
    extended_from: UUID | None = optional_field("Source of an extend.")
    inherited_interactions: int | None = optional_field("Interactions inherited from the source of an extend.")
    max_interactions: int | None = optional_field("Cap of each participant, inherited interactions included.")


class ParticipantState(Envelope):
    participant_id: UUID
    status: Status
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
    interaction_count: int = Field(description="Interactions so far, inherited ones included.")
    error_kind: str | None = Field(description="Failure reason if failed, else null.")


class NextAction(Envelope):
    """The next call; followed literally it returns the result."""

    tool: str = Field(description="MCP tool to call next.")
    arguments: dict[str, Any] = Field(description="Arguments of the tool; over REST, the body.")
    rest: str = Field(description="Same call as REST method and path.")
    cli: str = Field(description="Same call as a CLI command.")
    poll_after_seconds: int = Field(description="Minimum polling interval in seconds.")
    why: str = Field(description="Reason for the call: work that is not finished.")


class Progress(Envelope):
    done: int = Field(description="Number of finished participants.")
    total: int = Field(description="Number of awaited participants.")


class RunSuccess(Envelope):
    ok: Literal[True] = Field(
        default=True, description="The call succeeded; `participants` has the outcome of each run."
    )
    dispatch: Dispatch = Field(description="Dispatched participants.")
    participants: list[ParticipantState] = Field(
        description="State of each participant; pending right after the dispatch."
    )
    next_action: NextAction | None = optional_field("Call that gets the result; absent if all are terminal.")


class RunFailure(Envelope):
    ok: Literal[False] = Field(default=False, description="The dispatch failed, or the wait timed out.")
    error_kind: str = Field(description="Same as `error_code`.")
    error_code: str = Field(description="Stable code for programs.")
    error: str = Field(description="Problem and how to fix it.")
    retryable: bool = Field(description="Whether the same request may succeed if sent again.")
    suggestions: list[str] = Field(description="Next steps; may be empty.")
    dispatch: Dispatch | None = optional_field("What was dispatched before the failure.")
    participants: list[ParticipantState] | None = optional_field("Current state of each participant.")
    progress: Progress | None = optional_field("Progress of the wait.")
    next_action: NextAction | None = optional_field("Call that continues the wait.")


# RunFailure first: generated clients do not check a boolean discriminator, and would read a failure as a success.
RunStudyResponse = Annotated[RunFailure | RunSuccess, Field(discriminator="ok")]
