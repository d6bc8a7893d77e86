"""Builds a participant's journey: thoughts, sentiment curve, friction points, and where it gave up."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from understudy.domain.ids import Kind
from understudy.domain.journey import PastInteraction, find_friction_points
from understudy.domain.lifecycle import Outcome
from understudy.domain.page_size import TextBudget
from understudy.envelopes.journeys import FrictionPoint, InstructionEntry, Journey, JourneyStep, LastInteraction
from understudy.service import Service
from understudy.service.participants import action_text
from understudy.store import lineage, participants
from understudy.store.aliases import find
from understudy.store.engine import AnyRow


def get_journey(service: Service, workspace_id: UUID, ref: str) -> Journey:
    """Returns the journey over the lineage. Raises NotFound.

    A journey over MAX_VALUES_BYTES has all its steps; its later texts are shortened.
    """
    with service.store.read() as connection:
        id_ = find(connection, workspace_id, Kind.PARTICIPANT, ref, "participant_id").id
        participant = participants.get_details(connection, workspace_id, id_)
        task = lineage.load_run_spec(connection, id_).assignment["task"]
        instructions = lineage.instructions(connection, id_)
        reader = _Reader()
        reader.read(lineage.interactions(connection, id_, limit=participant.interaction_count))
    return Journey(
        participant_id=participant.id,
        alias=participant.alias,
        person_name=participant.person_name,
        status=participant.status,
        outcome=participant.outcome,
        task=task,
        steps=reader.steps,
        told=[InstructionEntry(before_index=index, instruction=text) for index, text in instructions],
        sentiment_curve=[step.sentiment for step in reader.steps],
        friction_points=reader.friction_points,
        gave_up_at=_last_interaction(reader.steps) if participant.outcome == Outcome.GAVE_UP else None,
    )


class _Reader:
    """Reads a lineage once, interaction by interaction; keeps only what the journey shows."""

    def __init__(self) -> None:
        self.steps: list[JourneyStep] = []
        self.friction_points: list[FrictionPoint] = []
        self._budget = TextBudget()

    def read(self, rows: Iterable[AnyRow]) -> None:
        cut = self._budget.cut
        for point in find_friction_points(map(self._step, rows)):
            # The points of an interaction come before the next interaction is read.
            step = self.steps[-1]
            self.friction_points.append(
                FrictionPoint(
                    index=point.index,
                    kind=point.kind,
                    what=cut(point.what),
                    url=cut(step.url),
                    thought=cut(step.thought),
                )
            )

    def _step(self, row: AnyRow) -> PastInteraction:
        cut = self._budget.cut
        self.steps.append(
            JourneyStep(
                index=row.ordinal,
                participant_id=row.participant_id,
                url=cut(row.observation["url"]),
                title=cut(row.observation["title"]),
                thought=cut(row.thought),
                did=cut(action_text(row.action)),
                sentiment=row.sentiment,
            )
        )
        return PastInteraction(row.ordinal, row.action, row.sentiment, row.result)


def _last_interaction(steps: Sequence[JourneyStep]) -> LastInteraction | None:
    return LastInteraction(**steps[-1].model_dump()) if steps else None
