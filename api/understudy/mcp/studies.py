"""The tools of studies."""

from starlette.concurrency import run_in_threadpool

from understudy.envelopes.base import Page
from understudy.envelopes.simulations import RunStudyResponse
from understudy.envelopes.studies import Iteration, Study, StudyFull
from understudy.mcp.arguments import (
    StudyAddIterationArguments,
    StudyGetArguments,
    StudyRunArguments,
    body_of,
    once,
)
from understudy.mcp.tool import Tier, tool
from understudy.mcp.tool_call import Call
from understudy.operations.requests import IterationRequest, StudyRequest, StudyRunRequest
from understudy.service import studies
from understudy.service.dispatching import run_study
from understudy.service.response import timeout_of


@tool("Create a study", Tier.WRITE, "study", "write")
def study_create(call: Call, request: StudyRequest) -> StudyFull:
    """Create a study: a task that simulated people are to do, and where.

    Give `iteration` to say at once what they act on, such as {"content": {"environment": "web", "url":
    "https://shop.example/"}}; else add one with study_add_iteration. `modality` is "interactive" for
    websites. `assignment.success` says when the task counts as done, by the address or the text of the
    page. Nothing runs yet. Returns the study with its iterations; pass its `id` to study_run next.
    """
    return studies.create_study(call.service, call.workspace_id, request)


@tool("Add an iteration to a study", Tier.WRITE, "study", "write")
def study_add_iteration(call: Call, request: StudyAddIterationArguments) -> Iteration:
    """Add an iteration to a study: another version of what people act on, to be compared with those before.

    Iterations are labelled A, B, C… Returns the iteration. study_run runs the latest one unless told
    otherwise.
    """
    body = body_of(request, IterationRequest)
    return studies.add_iteration(call.service, call.workspace_id, request.study_id, body)


@tool("Run a study", Tier.LONG_RUNNING, "dispatch", "study")
async def study_run(call: Call, request: StudyRunArguments) -> RunStudyResponse:
    """Have people take part in a study: one new participant per person, each of which runs by itself.

    Give exactly one of `sample` (N people sampled from the workspace; the simplest form) and
    `person_ids`. The workspace needs people first: person_create with `generate` makes some. Returns at
    once with `ok: true` and the new ids in `dispatch.participant_ids`, or with `wait: true` when all are
    through. Where something still runs, `next_action` is the call to make next. If the wait runs out
    (`error_kind` "wait_timeout") the runs go on: follow next_action, and do not call study_run again, which
    would start everything a second time. Results: study_get; one journey: participant_get; to stop:
    simulation_cancel. See docs_get("reference/long-running-jobs").
    """
    body = body_of(request, StudyRunRequest)
    timeout_s = timeout_of(call.service, body)
    repeated = once(f"/v1/studies/{request.study_id}/run", request.idempotency_key, body)
    dispatch = await run_in_threadpool(
        run_study, call.service, call.workspace_id, request.study_id, body, repeated
    )
    return await call.dispatch_response(dispatch, timeout_s, wait=body.wait)


@tool("Look at studies", Tier.READ_ONLY, "study", "read")
def study_get(call: Call, request: StudyGetArguments) -> studies.StudyAnswer | Page[Study]:
    """Get one study; omit `study_id` to list all studies.

    `view` "summary" (the default) tells how many participants stand where, their outcomes and how they
    felt; while `partial` is true something still runs, or failed. "per_participant" adds a row for each,
    with what it felt strongest about; "transcripts" adds whole runs in words; "full" is the study as it was
    set up. What comes in pages has `next_cursor` while there is more; `cursor` and `limit` go with the list
    and these two.
    """
    if request.study_id is None:
        return studies.list_studies(call.service, call.workspace_id, request.cursor, request.limit)
    view, cursor, limit = request.view, request.cursor, request.explicit_limit
    return studies.get_study(call.service, call.workspace_id, request.study_id, view, cursor, limit)
