"""The answers of simulation_cancel and of all that dispatch. Source: contract sections 3 and 5."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Outcome, Status, optional_field


class CancelledItem(Envelope):
    participant_id: UUID
    success: bool = Field(description="True: it is cancelled, for good.")
    status: str = Field(description="`cancelled`, or `[code] message` where success is false.")


class SkippedItem(Envelope):
    participant_id: UUID
    reason: Literal["already_terminal", "not_dispatched"] = Field(
        description="It had come to an end before, or it is a draft."
    )


class CancelSummary(Envelope):
    total: int = Field(description="Entries in both lists.")
    cancelled_count: int = Field(description="Entries with success.")
    skipped_count: int = Field(description="Entries in `skipped`.")
    failed_count: int | None = optional_field("Entries without success; absent when there are none.")


class CancelEnvelope(Envelope):
    cancelled: list[CancelledItem] = Field(description="Participants to which the cancel applied.")
    skipped: list[SkippedItem] = Field(description="Participants that were not active.")
    summary: CancelSummary


class Dispatch(Envelope):
    """Keys that don't apply are absent."""

    participant_ids: list[UUID] = Field(description="The new participants; of a wait those waited for.")
    aliases: list[str] | None = optional_field("Their aliases, in the same order.")
    study_id: UUID | None = optional_field("The study they are in.")
    iteration_id: UUID | None = optional_field("The iteration they are in.")
    ask_id: UUID | None = optional_field("The ask they are in.")
    round: int | None = optional_field("The round of the ask.")
    extended_from: UUID | None = optional_field("Of an extend: the source.")
    inherited_interactions: int | None = optional_field(
        "Of an extend: interactions taken over from the source."
    )
    max_interactions: int | None = optional_field("Each one's cap, inherited interactions included.")


class ParticipantState(Envelope):
    participant_id: UUID
    status: Status
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
    interaction_count: int = Field(description="Interactions so far, inherited ones included.")
    error_kind: str | None = Field(description="Failure reason if failed, else null.")


class NextAction(Envelope):
    """How to go on; followed literally it gets the result."""

    tool: str = Field(description="The MCP tool to call next.")
    arguments: dict[str, Any] = Field(description="Its arguments; over REST the body.")
    rest: str = Field(description="The same as method and path.")
    cli: str = Field(description="The same as a command.")
    poll_after_seconds: int = Field(description="Minimum polling interval in seconds.")
    why: str = Field(description="What is not over yet.")


class Progress(Envelope):
    done: int = Field(description="How many are at an end.")
    total: int = Field(description="Of how many.")


class RunSuccess(Envelope):
    ok: Literal[True] = Field(
        default=True, description="The call went well; how each run ended is in `participants`."
    )
    dispatch: Dispatch = Field(description="What was started.")
    participants: list[ParticipantState] = Field(
        description="How each stands; pending when it was just dispatched."
    )
    next_action: NextAction | None = optional_field("How to get the result; absent when all are at an end.")


class RunFailure(Envelope):
    ok: Literal[False] = Field(default=False, description="Nothing was started, or the wait ran out.")
    error_kind: str = Field(description="What went wrong; the same as `error_code`.")
    error_code: str = Field(description="For programs; never changes.")
    error: str = Field(description="What is wrong and what would be right.")
    retryable: bool = Field(description="May the same request, sent again, succeed?")
    suggestions: list[str] = Field(description="What to do next; may be empty.")
    dispatch: Dispatch | None = optional_field("What was dispatched before the failure.")
    participants: list[ParticipantState] | None = optional_field("How each stands now.")
    progress: Progress | None = optional_field("How far the wait came.")
    next_action: NextAction | None = optional_field("How to wait on.")


RunStudyResponse = Annotated[RunSuccess | RunFailure, Field(discriminator="ok")]
