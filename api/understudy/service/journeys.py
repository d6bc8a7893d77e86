"""Builds a participant's journey: thoughts, sentiment curve, friction points, and where it gave up."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from understudy.domain.ids import Kind
from understudy.domain.journey import PastInteraction, find_friction_points
from understudy.domain.lifecycle import Outcome
from understudy.envelopes.journeys import FrictionPoint, InstructionEntry, Journey, JourneyStep, LastInteraction
from understudy.service import Service
from understudy.service.participants import action_text
from understudy.store import lineage, participants
from understudy.store.aliases import find
from understudy.store.engine import AnyRow


def get_journey(service: Service, workspace_id: UUID, ref: str) -> Journey:
    """Returns the journey over the lineage. Raises NotFound."""
    with service.store.read() as connection:
        id_ = find(connection, workspace_id, Kind.PARTICIPANT, ref, "participant_id").id
        participant = participants.get_details(connection, workspace_id, id_)
        task = lineage.load_run_spec(connection, id_).assignment["task"]
        instructions = lineage.instructions(connection, id_)
        rows = lineage.interactions(connection, id_, limit=participant.interaction_count)
    return Journey(
        participant_id=participant.id,
        alias=participant.alias,
        person_name=participant.person_name,
        status=participant.status,
        outcome=participant.outcome,
        task=task,
        steps=[JourneyStep(**_page(row), participant_id=row.participant_id, **_felt(row)) for row in rows],
        told=[InstructionEntry(before_index=index, instruction=text) for index, text in instructions],
        sentiment_curve=[row.sentiment for row in rows],
        friction_points=_points(rows),
        gave_up_at=_last_interaction(rows[-1]) if rows and participant.outcome == Outcome.GAVE_UP else None,
    )


def _points(rows: Sequence[AnyRow]) -> list[FrictionPoint]:
    by_index = {row.ordinal: row for row in rows}
    steps = (PastInteraction(row.ordinal, row.action, row.sentiment, row.result) for row in rows)
    return [
        FrictionPoint(
            index=point.index,
            kind=point.kind,
            what=point.what,
            url=by_index[point.index].observation["url"],
            thought=by_index[point.index].thought,
        )
        for point in find_friction_points(steps)
    ]


def _page(row: AnyRow) -> dict[str, Any]:
    return {"index": row.ordinal, "url": row.observation["url"], "title": row.observation["title"]}


def _felt(row: AnyRow) -> dict[str, Any]:
    return {"thought": row.thought, "did": action_text(row.action), "sentiment": row.sentiment}


def _last_interaction(row: AnyRow) -> LastInteraction:
    return LastInteraction(**_page(row), thought=row.thought)
