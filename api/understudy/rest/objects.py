"""Serves studies, people and participants over REST."""

from typing import Any

from fastapi import APIRouter, Response

from understudy.domain.lifecycle import Status
from understudy.envelopes.base import Page
from understudy.envelopes.journeys import Journey
from understudy.envelopes.participants import Interaction, Participant, Transcript
from understudy.envelopes.people import Panel, People, Person
from understudy.envelopes.studies import Iteration, Study, StudyFull
from understudy.operations.requests import DEFAULT_PAGE, IterationRequest, PersonCreateRequest, StudyRequest, StudyView
from understudy.rest.inputs import (
    Cursor,
    ExportFormat,
    Flag,
    IdInPath,
    IdInQuery,
    Limit,
    LimitIfAny,
    Round,
    TheService,
    Where,
    Workspace,
)
from understudy.service import journeys, participants, people, studies
from understudy.service.panels import write_csv
from understudy.service.studies import StudyAnswer

router = APIRouter()


@router.post("/studies", status_code=201, tags=["studies"], summary="study_create")
def study_create(request: StudyRequest, service: TheService, workspace: Workspace) -> StudyFull:
    """Creates a study, with its first iteration if one is given."""
    return studies.create_study(service, workspace, request)


@router.post("/studies/{study_id}/iterations", status_code=201, tags=["studies"], summary="study_add_iteration")
def study_add_iteration(
    study_id: IdInPath, request: IterationRequest, service: TheService, workspace: Workspace
) -> Iteration:
    """Adds an iteration: another version of the content that people act on."""
    return studies.add_iteration(service, workspace, study_id, request)


@router.get("/studies", tags=["studies"], summary="study_get (list)")
def study_list(
    service: TheService, workspace: Workspace, cursor: Cursor = None, limit: Limit = DEFAULT_PAGE
) -> Page[Study]:
    """Lists studies in order of creation."""
    return studies.list_studies(service, workspace, cursor, limit)


@router.get("/studies/{study_id}", tags=["studies"], summary="study_get")
def study_get(
    study_id: IdInPath,
    service: TheService,
    workspace: Workspace,
    view: StudyView = "summary",
    cursor: Cursor = None,
    limit: LimitIfAny = None,
) -> StudyAnswer:
    """Returns a study: `summary` has the counts of its participants, `full` its iterations.

    `per_participant` and `transcripts` add a page of participants to the summary: each with its highlight,
    or with its transcript. `cursor` and `limit` apply to these two.
    """
    return studies.get_study(service, workspace, study_id, view, cursor, limit)


@router.post("/people", status_code=201, tags=["people"], summary="person_create")
def person_create(request: PersonCreateRequest, service: TheService, workspace: Workspace) -> Person | People:
    """Creates one person, several (`people`, `csv`), or a generated (`generate`) or ready panel (`panel`)."""
    return people.create(service, workspace, request)


@router.get("/people", tags=["people"], summary="person_get (list)")
def person_list(
    service: TheService,
    workspace: Workspace,
    where: Where,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> Page[Person]:
    """Lists the people who meet all conditions, in order of creation."""
    return people.list_people(service, workspace, cursor, limit, where)


@router.get(
    "/people/export",
    tags=["people"],
    response_model=Panel,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def person_export(
    service: TheService,
    workspace: Workspace,
    where: Where,
    format: ExportFormat = "json",  # noqa: A002
) -> Any:
    """Exports the people who meet all conditions, at most 10,000, as JSON or CSV for a later import."""
    panel = people.export_people(service, workspace, where)
    if format == "json":
        return panel
    headers = {"Content-Disposition": 'attachment; filename="people.csv"'}
    return Response(write_csv(panel.people), media_type="text/csv", headers=headers)


@router.get("/people/{person_id}", tags=["people"], summary="person_get")
def person_get(person_id: IdInPath, service: TheService, workspace: Workspace) -> Person:
    """Returns one person."""
    return people.get_person(service, workspace, person_id)


@router.get("/participants", tags=["participants"], summary="participant_get (list)")
def participant_list(
    service: TheService,
    workspace: Workspace,
    study_id: IdInQuery = None,
    iteration_id: IdInQuery = None,
    ask_id: IdInQuery = None,
    round_number: Round = None,
    status: Status | None = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> Page[Participant]:
    """Lists participants of a study, iteration, ask, round or the workspace, in order of creation."""
    return participants.list_participants(
        service,
        workspace,
        study_id=study_id,
        iteration_id=iteration_id,
        ask_id=ask_id,
        round_number=round_number,
        status=status,
        cursor=cursor,
        limit=limit,
    )


@router.get("/participants/{participant_id}", tags=["participants"], summary="participant_get")
def participant_get(participant_id: IdInPath, service: TheService, workspace: Workspace) -> Participant:
    """Returns one participant."""
    return participants.get_participant(service, workspace, participant_id)


@router.get("/participants/{participant_id}/interactions", tags=["participants"])
def participant_interactions(
    participant_id: IdInPath,
    service: TheService,
    workspace: Workspace,
    own: Flag = False,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> Page[Interaction]:
    """Lists the interactions of the lineage, or with `own=true` only this participant's own."""
    return participants.get_interactions(service, workspace, participant_id, own=own, cursor=cursor, limit=limit)


@router.get("/participants/{participant_id}/transcript", tags=["participants"])
def participant_transcript(participant_id: IdInPath, service: TheService, workspace: Workspace) -> Transcript:
    """Returns the run as text, over the lineage."""
    return participants.get_transcript(service, workspace, participant_id)


@router.get("/participants/{participant_id}/journey", tags=["participants"])
def participant_journey(participant_id: IdInPath, service: TheService, workspace: Workspace) -> Journey:
    """Returns thoughts, sentiment curve, friction points and where it gave up, over the lineage."""
    return journeys.get_journey(service, workspace, participant_id)
