"""The MCP tools for studies."""

from starlette.concurrency import run_in_threadpool

from understudy.envelopes.base import Page
from understudy.envelopes.simulations import RunStudyResponse
from understudy.envelopes.studies import Iteration, Study, StudyFull
from understudy.mcp.arguments import StudyAddIterationArguments, StudyGetArguments, StudyRunArguments, body_of, once
from understudy.mcp.tool import Tier, tool
from understudy.mcp.tool_call import Call
from understudy.operations.requests import IterationRequest, StudyRequest, StudyRunRequest
from understudy.service import studies
from understudy.service.dispatching import run_study
from understudy.service.response import timeout_of


@tool("Create a study", Tier.WRITE, "study", "write")
def study_create(call: Call, request: StudyRequest) -> StudyFull:
    """Create a study: a task for simulated people, and the environment they act on.

    Give `iteration` to set the environment at once, such as {"content": {"environment": "web", "url":
    "https://shop.example/"}}; else add one with study_add_iteration. `modality` is "interactive" for
    websites. `assignment.success` is the success condition on the address or the text of the page. Nothing
    runs yet. Returns the study with its iterations; pass its `id` to study_run next.
    """
    return studies.create_study(call.service, call.workspace_id, request)


@tool("Add an iteration to a study", Tier.WRITE, "study", "write")
def study_add_iteration(call: Call, request: StudyAddIterationArguments) -> Iteration:
    """Add an iteration to a study: another version of the environment, to compare with earlier ones.

    Iterations have the labels A, B, C… Returns the iteration. study_run runs the latest one unless you give
    `iteration_id`.
    """
    body = body_of(request, IterationRequest)
    return studies.add_iteration(call.service, call.workspace_id, request.study_id, body)


@tool("Run a study", Tier.LONG_RUNNING, "dispatch", "study")
async def study_run(call: Call, request: StudyRunArguments) -> RunStudyResponse:
    """Run a study: dispatch one new participant per person.

    Give exactly one of `sample` (N people sampled from the workspace; the simplest form) and
    `person_ids`. The workspace needs people first: person_create with `generate` creates them. Returns
    immediately with `ok: true` and the new ids in `dispatch.participant_ids`, or with `wait: true` when all
    have finished. While participants run, `next_action` is the next call. If the wait times out
    (`error_kind` "wait_timeout"), the runs continue: follow next_action. Do not call study_run again, which
    dispatches all people a second time. Results: study_get; one journey: participant_get; cancel:
    simulation_cancel. See docs_get("reference/long-running-jobs").
    """
    body = body_of(request, StudyRunRequest)
    timeout_s = timeout_of(call.service, body)
    repeated = once(f"/v1/studies/{request.study_id}/run", request.idempotency_key, body)
    dispatch = await run_in_threadpool(run_study, call.service, call.workspace_id, request.study_id, body, repeated)
    return await call.dispatch_response(dispatch, timeout_s, wait=body.wait)


@tool("Get studies", Tier.READ_ONLY, "study", "read")
def study_get(call: Call, request: StudyGetArguments) -> studies.StudyAnswer | Page[Study]:
    """Get one study; omit `study_id` to list all studies.

    `view` "summary" (the default) has counts by status, outcomes and sentiments; `partial` is true while a
    participant runs, or if one failed. "per_participant" adds a row per participant with its highlight;
    "transcripts" adds the runs as text; "full" is the study with its settings. `cursor` and `limit` page the
    list, "per_participant" and "transcripts"; `next_cursor` is null on the last page.
    """
    if request.study_id is None:
        return studies.list_studies(call.service, call.workspace_id, request.cursor, request.limit)
    view, cursor, limit = request.view, request.cursor, request.explicit_limit
    return studies.get_study(call.service, call.workspace_id, request.study_id, view, cursor, limit)
