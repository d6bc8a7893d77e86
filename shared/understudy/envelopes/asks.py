"""Envelopes of ask_get. Source: contract section 6.

Variants are labelled by position: A, B, C… In each round each person counts once, with the newest answer of
its participant or of a child of it.
"""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Outcome, Status, Time, optional_field
from understudy.envelopes.usage import Usage

Label = Annotated[str, Field(description="Label of a variant: A, B, C…")]


class Ask(Envelope):
    """An item of a list of asks."""

    id: UUID
    alias: str = Field(description="Short id.")
    question: str = Field(description="Question of round 1.")
    round_count: int = Field(description="Number of rounds, at most 5.")
    created_at: Time = Field(description="Creation time.")


class VariantResult(Envelope):
    """The result of a variant in a round."""

    label: str = Field(description="A, B, C…")
    text: str = Field(description="Start of the text; in view=full the whole text.")
    picks: int = Field(description="People who picked it.")
    rating_count: int = Field(description="People who rated it.")
    mean_rating: float | None = Field(description="Mean from 1 to 5; null without ratings.")


class FailedPerson(Envelope):
    """A person without an answer because the run failed."""

    participant_id: UUID
    alias: str = Field(description="Short id.")
    person_id: UUID
    error_kind: str | None = Field(description="Failure reason if failed, else null.")
    error_message: str | None


class RoundResult(Envelope):
    """The result of a round."""

    round: int = Field(description="Number of the round, from 1.")
    question: str = Field(description="Question of this round.")
    created_at: Time = Field(description="Creation time.")
    participant_count: int = Field(description="Participants of the round, extended ones included.")
    draft_count: int
    pending_count: int
    running_count: int
    completed_count: int
    failed_count: int
    cancelled_count: int
    people_count: int = Field(description="People in the round.")
    answered_count: int = Field(description="People who answered.")
    no_pick_count: int = Field(description="People whose answer picks no variant.")
    variants: list[VariantResult] = Field(description="Variants in order: A, B, C…")
    winner: Label | None = Field(description="Variant with the most picks; null on a tie or without picks.")
    tie: list[Label] = Field(description="On a tie, the variants with the most picks; else empty.")
    errored: list[FailedPerson] = Field(description="The first people without an answer because their run failed.")
    errored_count: int = Field(description="Number of all such people.")
    partial: bool = Field(description="True if a participant is not terminal or a person has errored.")


class PickTransition(Envelope):
    """A count of people who changed from one pick to another; null means no pick."""

    from_pick: Label | None
    to_pick: Label | None
    count: int = Field(description="People with this change.")


class VariantChange(Envelope):
    """The change of a variant between two consecutive rounds that both contain it."""

    label: str = Field(description="A, B, C…")
    text_changed: bool = Field(description="Whether the text changed.")
    picks_delta: int = Field(description="Change in the number of picks.")
    mean_rating_delta: float | None = Field(description="Change in the mean rating; null if either round has none.")


class RoundChange(Envelope):
    """The change between consecutive rounds among people who answered both."""

    from_round: int = Field(description="Earlier round.")
    to_round: int = Field(description="Later round.")
    question_changed: bool = Field(description="Whether the question changed.")
    answered_both_count: int = Field(description="People who answered both rounds.")
    same_pick_count: int = Field(description="Of these, people with the same pick.")
    changed_pick_count: int = Field(description="Of these, people with another pick or none.")
    moves: list[PickTransition] = Field(description="Changed picks, most frequent first.")
    variants: list[VariantChange] = Field(description="Variants that both rounds contain.")


class AskSummary(Envelope):
    """view=summary"""

    ask_id: UUID
    alias: str = Field(description="Short id.")
    question: str = Field(description="Question of round 1.")
    round_count: int = Field(description="Number of rounds, at most 5.")
    created_at: Time = Field(description="Creation time.")
    rounds: list[RoundResult] = Field(description="Rounds in order.")
    changes: list[RoundChange] = Field(description="Changes from each round to the next.")
    partial: bool = Field(description="True if any round is partial.")
    usage: Usage | None = optional_field("Language model usage; absent if no model was called.")


class Answer(Envelope):
    """A person's answer in a round; without an answer, pick, ratings and comment are null."""

    round: int
    participant_id: UUID
    alias: str = Field(description="Short id.")
    status: Status
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
    error_kind: str | None = Field(description="Failure reason if failed, else null.")
    answered: bool = Field(description="Whether the person answered.")
    pick: Label | None
    ratings: dict[str, int] | None = Field(description="Ratings from 1 to 5 by variant.")
    comment: str | None = Field(description="Reason in the person's words.")
    sentiment: float | None = Field(description="Sentiment when it answered, from -1 to 1.")


class PickChange(Envelope):
    """A pick that differs from the person's previous round."""

    from_round: int
    to_round: int
    from_pick: Label | None
    to_pick: Label | None


class PersonAnswers(Envelope):
    """One person's answers over all rounds."""

    person_id: UUID
    person_name: str = Field(description="The person's name.")
    answers: list[Answer] = Field(description="One answer for each round.")
    changes: list[PickChange] = Field(description="Rounds in which the pick changed.")


class AskPerParticipant(AskSummary):
    """view=per_participant: the summary and a page of people."""

    people: list[PersonAnswers] = Field(description="People in the ask, one page.")
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class AskFull(AskPerParticipant):
    """view=full: variants with whole texts, and the settings of the runs."""

    mind: str = Field(description="Mind that decides for the people.")
    max_interactions: int | None = Field(description="Cap as requested; null: enough to read and answer.")
    step_timeout: float = Field(description="Maximum seconds of one interaction.")
    run_timeout: float = Field(description="Maximum seconds of a participant's own run.")
