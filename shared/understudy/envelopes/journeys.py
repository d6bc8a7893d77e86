"""Envelopes of a participant's journey: steps, thoughts, sentiment and friction points."""

from uuid import UUID

from pydantic import Field

from understudy.domain.journey import FrictionKind
from understudy.envelopes.base import Envelope, Outcome, Status


class JourneyStep(Envelope):
    """A short form of one interaction."""

    index: int = Field(description="Index over the whole lineage, from 0.")
    participant_id: UUID = Field(description="Participant of the interaction; the source if inherited.")
    url: str = Field(description="Address of the page.")
    title: str = Field(description="Title of the page.")
    thought: str = Field(description="Thought of the person.")
    did: str = Field(description="Action in words.")
    sentiment: float = Field(description="Sentiment from -1 to 1.")


class FrictionPoint(Envelope):
    """An interaction classified as a problem."""

    index: int = Field(description="Index of the interaction.")
    kind: FrictionKind = Field(
        description="problem: the environment or the person failed to act; error_page: status 400 or more; "
        "repeated_reply: a bot repeats a reply; going_in_circles: third or later visit to the same page; "
        "mood_drop: sentiment falls by 0.3 or more from one interaction to the next."
    )
    what: str = Field(description="Description in words.")
    url: str = Field(description="Address of the page.")
    thought: str = Field(description="Thought of the person.")


class InstructionEntry(Envelope):
    """An instruction of an extend."""

    before_index: int = Field(description="Index of the next interaction.")
    instruction: str


class LastInteraction(Envelope):
    """The last interaction of a journey."""

    index: int = Field(description="Index of the last interaction.")
    url: str = Field(description="Address of the page.")
    title: str = Field(description="Title of the page.")
    thought: str = Field(description="Last thought.")


class Journey(Envelope):
    """A participant's journey over the whole lineage."""

    participant_id: UUID
    alias: str = Field(description="Short id.")
    person_name: str = Field(description="The person's name.")
    status: Status
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
    task: str = Field(description="Task of the assignment.")
    steps: list[JourneyStep] = Field(description="Interactions in order.")
    told: list[InstructionEntry] = Field(description="Instructions, in order.")
    sentiment_curve: list[float] = Field(description="Sentiment of each interaction, from -1 to 1, by index.")
    friction_points: list[FrictionPoint] = Field(
        description="Friction points in order; an interaction can have several."
    )
    gave_up_at: LastInteraction | None = Field(description="Last interaction if it gave up, else null.")
