"""A participant's journey: what it did and thought, how it felt, and where that was hard."""

from uuid import UUID

from pydantic import Field

from understudy.domain.journey import FrictionKind
from understudy.envelopes.base import Envelope, Outcome, Status


class JourneyStep(Envelope):
    """One interaction, in short."""

    index: int = Field(description="Counts from 0 over the whole lineage.")
    participant_id: UUID = Field(description="Whose it is; of an inherited one the source.")
    url: str = Field(description="Where it was.")
    title: str = Field(description="What that place is called.")
    thought: str = Field(description="What went through the person's mind.")
    did: str = Field(description="What was done, in words.")
    sentiment: float = Field(description="How it felt, from -1 to 1.")


class FrictionPoint(Envelope):
    """A place where it was hard."""

    index: int = Field(description="The interaction in which it happened.")
    kind: FrictionKind = Field(
        description="problem: the place, or the person, could not; error_page: status 400 or more; "
        "repeated_reply: a bot says what it said before; going_in_circles: at one place for the third time "
        "or more; mood_drop: by 0.3 or more from one interaction to the next."
    )
    what: str = Field(description="The same in words.")
    url: str = Field(description="Where the person was.")
    thought: str = Field(description="What it thought.")


class InstructionEntry(Envelope):
    """An instruction of an extend."""

    before_index: int = Field(description="The interaction that came next.")
    instruction: str


class LastInteraction(Envelope):
    """Where a journey came to its end."""

    index: int = Field(description="The last interaction.")
    url: str = Field(description="Where the person was.")
    title: str = Field(description="What that place is called.")
    thought: str = Field(description="The last thought.")


class Journey(Envelope):
    """The answer of a participant's journey, over the whole lineage."""

    participant_id: UUID
    alias: str = Field(description="Its short name.")
    person_name: str = Field(description="The person's name.")
    status: Status
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
    task: str = Field(description="What was to be done.")
    steps: list[JourneyStep] = Field(description="In order.")
    told: list[InstructionEntry] = Field(description="Instructions, in order.")
    sentiment_curve: list[float] = Field(description="How each interaction felt, from -1 to 1, by index.")
    friction_points: list[FrictionPoint] = Field(
        description="Where it was hard, in order; one interaction can be several."
    )
    gave_up_at: LastInteraction | None = Field(description="Of one that gave up: where; else null.")
