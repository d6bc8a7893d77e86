"""The answers of ask_get, field by field. Source: contract section 6.

Variants are named by their place: A, B, C… In each round each person counts once, with the newest answer that
they or those extended from them gave.
"""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.envelopes import Envelope, Outcome, Status, Time

Label = Annotated[str, Field(description="A variant: A, B, C…")]


class Ask(Envelope):
    """An ask in a list of asks."""

    id: UUID
    alias: str
    question: str = Field(description="What round 1 asked.")
    round_count: int
    created_at: Time


class VariantResult(Envelope):
    """What became of a variant in a round."""

    label: str
    text: str = Field(description="How it begins; in view=full the whole text.")
    picks: int
    rating_count: int
    mean_rating: float | None = Field(description="From 1 to 5; null when nobody rated it.")


class Errored(Envelope):
    """Somebody who has no answer because their run failed."""

    participant_id: UUID
    alias: str
    person_id: UUID
    error_kind: str | None
    error_message: str | None


class RoundResult(Envelope):
    """What became of a round."""

    round: int
    question: str
    created_at: Time
    participant_count: int = Field(description="With those that were extended from others.")
    draft_count: int
    pending_count: int
    running_count: int
    completed_count: int
    failed_count: int
    cancelled_count: int
    people_count: int
    answered_count: int = Field(description="People who answered.")
    no_pick_count: int = Field(description="People who answered that they pick none.")
    variants: list[VariantResult]
    winner: Label | None = Field(
        description="The one most people picked; null when nobody picked or on a tie."
    )
    tie: list[Label] = Field(description="On a tie those that were picked most; else empty.")
    errored: list[Errored] = Field(description="The first of those who have no answer because they failed.")
    errored_count: int
    partial: bool = Field(description="Something is not terminal, or somebody errored.")


class PickMove(Envelope):
    """How many people went from one pick to another; null stands for none."""

    from_pick: Label | None
    to_pick: Label | None
    count: int


class VariantChange(Envelope):
    """What changed for a variant from a round to the next; only of those that both rounds have."""

    label: str
    text_changed: bool
    picks_delta: int
    mean_rating_delta: float | None


class RoundChange(Envelope):
    """What changed from a round to the next, among people who answered in both."""

    from_round: int
    to_round: int
    question_changed: bool
    answered_both_count: int
    same_pick_count: int
    changed_pick_count: int
    moves: list[PickMove] = Field(description="The changed picks, most frequent first.")
    variants: list[VariantChange]


class AskSummary(Envelope):
    """view=summary"""

    ask_id: UUID
    alias: str
    question: str
    round_count: int
    created_at: Time
    rounds: list[RoundResult]
    changes: list[RoundChange]
    partial: bool = Field(description="Of any round.")


class Answer(Envelope):
    """Where a person stands in a round. Without an answer pick, ratings and comment are null."""

    round: int
    participant_id: UUID
    alias: str
    status: Status
    outcome: Outcome | None
    error_kind: str | None
    answered: bool
    pick: Label | None
    ratings: dict[str, int] | None
    comment: str | None
    sentiment: float | None


class PickChange(Envelope):
    """A person picked another one than in the round before."""

    from_round: int
    to_round: int
    from_pick: Label | None
    to_pick: Label | None


class PersonAnswers(Envelope):
    """One person over all rounds."""

    person_id: UUID
    person_name: str
    answers: list[Answer]
    changes: list[PickChange]


class AskPerParticipant(AskSummary):
    """view=per_participant: the summary of all, and a page of people."""

    people: list[PersonAnswers]
    next_cursor: str | None


class AskFull(AskPerParticipant):
    """view=full: variants with their whole texts, and the settings of the runs."""

    mind: str
    max_interactions: int | None
    step_timeout: float
    run_timeout: float
