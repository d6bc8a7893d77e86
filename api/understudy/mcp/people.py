"""The tools of people, and of people in runs: participants."""

from understudy.domain.lifecycle import Status
from understudy.envelopes.base import Page
from understudy.envelopes.journeys import Journey
from understudy.envelopes.participants import Interaction, Participant, Transcript
from understudy.envelopes.people import People, Person
from understudy.mcp.arguments import ParticipantGetArguments, PersonGetArguments
from understudy.mcp.tool import Tier, tool
from understudy.mcp.tool_call import Call
from understudy.operations.requests import PersonCreateRequest
from understudy.service import journeys, participants, people


@tool("Create people", Tier.WRITE, "person", "write")
def person_create(call: Call, request: PersonCreateRequest) -> Person | People:
    """Create people: profiles that can take part in any number of studies and asks.

    Use exactly one form. A made-up panel, the simple way: `generate` (how many) and maybe `seed`, the same
    people for the same seed. A panel that comes along: `panel`. Several of your own: `people`, each with the
    fields of one, or `csv`. One of your own: `name`, `age`, `country`, `language`, and maybe `traits` (such
    as {"patience": 0.2}) and `bio`. Returns the person, or `items` with all of them. study_run and ask_run
    take them by `sample` or by id.
    """
    return people.create(call.service, call.workspace_id, request)


@tool("Look at people", Tier.READ_ONLY, "person", "read")
def person_get(call: Call, request: PersonGetArguments) -> Person | Page[Person]:
    """Look at one person's profile, or without `person_id` at the list of all.

    A list can be narrowed down by age, country, language, trait and search. It has `next_cursor` while
    there is more.
    """
    if request.person_id is None:
        where = request.filter()
        return people.list_people(call.service, call.workspace_id, request.cursor, request.limit, where)
    return people.get_person(call.service, call.workspace_id, request.person_id)


@tool("Look at participants", Tier.READ_ONLY, "participant", "read")
def participant_get(
    call: Call, request: ParticipantGetArguments
) -> Participant | Transcript | Journey | Page[Participant] | Page[Interaction]:
    """Look at one participant, its journey or its transcript; or without `participant_id` at a list.

    A participant is one person in one run. `view` "participant" (the default) tells its status, outcome and
    how far it came; "interactions" is its journey step by step; "transcript" the same in words, good to
    read and to quote; "journey" tells where it was hard: thoughts, the curve of feelings, points of friction,
    and where it gave up. They go back to the beginning where it extends another one. Without
    `participant_id`: participants of a study, iteration, ask or its round, or with a status, in order of
    creation; `next_cursor` while there is more.
    """
    service, workspace_id, id_ = call.service, call.workspace_id, request.participant_id
    if id_ is None:
        return participants.list_participants(
            service,
            workspace_id,
            study_id=request.study_id,
            iteration_id=request.iteration_id,
            ask_id=request.ask_id,
            round_number=request.round,
            status=None if request.status is None else Status(request.status),
            cursor=request.cursor,
            limit=request.limit,
        )
    if request.view == "interactions":
        return participants.get_interactions(
            service, workspace_id, id_, own=request.own, cursor=request.cursor, limit=request.limit
        )
    if request.view == "transcript":
        return participants.get_transcript(service, workspace_id, id_)
    if request.view == "journey":
        return journeys.get_journey(service, workspace_id, id_)
    return participants.get_participant(service, workspace_id, id_)
