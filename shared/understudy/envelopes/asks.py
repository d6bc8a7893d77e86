"""The answers of ask_get, field by field. Source: contract section 6.

Variants are named by their place: A, B, C… In each round each person counts once, with the newest answer that
they or those extended from them gave.
"""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Outcome, Status, Time, optional_field
from understudy.envelopes.usage import Usage

Label = Annotated[str, Field(description="A variant: A, B, C…")]


class Ask(Envelope):
    """An ask in a list of asks."""

    id: UUID
    alias: str = Field(description="Its short name.")
    question: str = Field(description="What round 1 asked.")
    round_count: int = Field(description="Rounds so far, at most 5.")
    created_at: Time = Field(description="Creation time.")


class VariantResult(Envelope):
    """What became of a variant in a round."""

    label: str = Field(description="A, B, C…")
    text: str = Field(description="How it begins; in view=full the whole text.")
    picks: int = Field(description="People who picked it.")
    rating_count: int = Field(description="People who rated it.")
    mean_rating: float | None = Field(description="From 1 to 5; null when nobody rated it.")


class FailedPerson(Envelope):
    """Somebody who has no answer because their run failed."""

    participant_id: UUID
    alias: str = Field(description="Its short name.")
    person_id: UUID
    error_kind: str | None = Field(description="Failure reason if failed, else null.")
    error_message: str | None


class RoundResult(Envelope):
    """What became of a round."""

    round: int = Field(description="Counts from 1.")
    question: str = Field(description="What this round asked.")
    created_at: Time = Field(description="Creation time.")
    participant_count: int = Field(description="With those that were extended from others.")
    draft_count: int
    pending_count: int
    running_count: int
    completed_count: int
    failed_count: int
    cancelled_count: int
    people_count: int = Field(description="People who were asked.")
    answered_count: int = Field(description="People who answered.")
    no_pick_count: int = Field(description="People who answered that they pick none.")
    variants: list[VariantResult] = Field(description="In order: A, B, C…")
    winner: Label | None = Field(
        description="The one most people picked; null when nobody picked or on a tie."
    )
    tie: list[Label] = Field(description="On a tie those that were picked most; else empty.")
    errored: list[FailedPerson] = Field(
        description="The first of those who have no answer because they failed."
    )
    errored_count: int = Field(description="All of those.")
    partial: bool = Field(description="Something is not terminal, or somebody errored.")


class PickTransition(Envelope):
    """How many people went from one pick to another; null stands for none."""

    from_pick: Label | None
    to_pick: Label | None
    count: int = Field(description="People.")


class VariantChange(Envelope):
    """What changed for a variant from a round to the next; only of those that both rounds have."""

    label: str = Field(description="A, B, C…")
    text_changed: bool = Field(description="Is its text another one?")
    picks_delta: int = Field(description="Picks more, or fewer.")
    mean_rating_delta: float | None = Field(
        description="By how much the mean rating changed; null if a round has none."
    )


class RoundChange(Envelope):
    """What changed from a round to the next, among people who answered in both."""

    from_round: int = Field(description="The earlier round.")
    to_round: int = Field(description="The later one.")
    question_changed: bool = Field(description="Was another question asked?")
    answered_both_count: int = Field(description="People who answered in both.")
    same_pick_count: int = Field(description="Of those: who picked the same.")
    changed_pick_count: int = Field(description="Of those: who picked another one, or none.")
    moves: list[PickTransition] = Field(description="The changed picks, most frequent first.")
    variants: list[VariantChange] = Field(description="Those that both rounds have.")


class AskSummary(Envelope):
    """view=summary"""

    ask_id: UUID
    alias: str = Field(description="Its short name.")
    question: str = Field(description="What round 1 asked.")
    round_count: int = Field(description="Rounds so far, at most 5.")
    created_at: Time = Field(description="Creation time.")
    rounds: list[RoundResult] = Field(description="In order.")
    changes: list[RoundChange] = Field(description="From each round to the next.")
    partial: bool = Field(description="Of any round.")
    usage: Usage | None = optional_field("What asking language models took; absent where none was asked.")


class Answer(Envelope):
    """Where a person stands in a round. Without an answer pick, ratings and comment are null."""

    round: int
    participant_id: UUID
    alias: str = Field(description="Its short name.")
    status: Status
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
    error_kind: str | None = Field(description="Failure reason if failed, else null.")
    answered: bool = Field(description="Is there an answer?")
    pick: Label | None
    ratings: dict[str, int] | None = Field(description="From 1 to 5 by variant.")
    comment: str | None = Field(description="Why, in the person's words.")
    sentiment: float | None = Field(description="How it felt when it answered, from -1 to 1.")


class PickChange(Envelope):
    """A person picked another one than in the round before."""

    from_round: int
    to_round: int
    from_pick: Label | None
    to_pick: Label | None


class PersonAnswers(Envelope):
    """One person over all rounds."""

    person_id: UUID
    person_name: str = Field(description="The person's name.")
    answers: list[Answer] = Field(description="One for each round.")
    changes: list[PickChange] = Field(description="Where the pick changed from one round to the next.")


class AskPerParticipant(AskSummary):
    """view=per_participant: the summary of all, and a page of people."""

    people: list[PersonAnswers] = Field(description="A page of those who were asked.")
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class AskFull(AskPerParticipant):
    """view=full: variants with their whole texts, and the settings of the runs."""

    mind: str = Field(description="Who decides for the people.")
    max_interactions: int | None = Field(description="As it was asked for; null: enough to read and answer.")
    step_timeout: float = Field(description="Seconds that one interaction may take.")
    run_timeout: float = Field(description="Seconds that a participant's own run may take.")
