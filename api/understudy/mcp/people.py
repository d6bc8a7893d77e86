"""The MCP tools for people and participants."""

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

    Use exactly one form. Random people, the simplest form: `generate` (number) and optionally `seed` (the
    same seed generates the same people). A built-in panel: `panel`. Several own people: `people`, each with
    the fields of one person, or `csv`. One own person: `name`, `age`, `country`, `language`, and optionally
    `traits` (such as {"patience": 0.2}) and `bio`. Returns the person, or `items` with all people. study_run
    and ask_run select people by `sample` or by id.
    """
    return people.create(call.service, call.workspace_id, request)


@tool("Get people", Tier.READ_ONLY, "person", "read")
def person_get(call: Call, request: PersonGetArguments) -> Person | Page[Person]:
    """Get one person's profile; omit `person_id` to list all people.

    Filter the list by age, country, language, trait and search. `next_cursor` is null on the last page.
    """
    if request.person_id is None:
        where = request.filter()
        return people.list_people(call.service, call.workspace_id, request.cursor, request.limit, where)
    return people.get_person(call.service, call.workspace_id, request.person_id)


@tool("Get participants", Tier.READ_ONLY, "participant", "read")
def participant_get(
    call: Call, request: ParticipantGetArguments
) -> Participant | Transcript | Journey | Page[Participant] | Page[Interaction]:
    """Get one participant, its journey or its transcript; omit `participant_id` to list participants.

    A participant is one person in one run. `view` "participant" (the default) has its status, outcome and
    number of interactions; "interactions" has each step; "transcript" has the run as text, to read and to
    quote; "journey" has thoughts, sentiment curve, friction points and where it gave up. The last three
    include the interactions of its sources. Without `participant_id`: list the participants of a study,
    iteration, ask or round, or with a status, in order of creation; `next_cursor` is null on the last page.
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
