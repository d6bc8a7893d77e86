"""The operations on studies and their iterations."""

from understudy.envelopes.base import Page
from understudy.envelopes.simulations import RunStudyResponse
from understudy.envelopes.studies import (
    Iteration,
    Study,
    StudyCreated,
    StudyFull,
    StudyPause,
    StudyPerParticipant,
    StudySummary,
    StudyTranscripts,
)
from understudy.operations.operation import Operation, Tier
from understudy.operations.queries import OverviewQuery, StudyQuery
from understudy.operations.requests import EmptyRequest, IterationRequest, StudyRequest, StudyRunRequest

_CONTENT = {"environment": "web", "url": "https://shop.example/"}

STUDY_CREATE = Operation(
    "study_create",
    "POST",
    "/v1/studies",
    Tier.WRITE,
    ("study", "write"),
    "Create a study",
    """\
Create a study: a task for simulated people, and the environment they act on.

Give `iteration` to set the environment at once, and `run` to run it at once; everything is created in one
transaction. Otherwise add iterations with study_add_iteration and run them with study_run. Returns the study with
its iterations; with `run` also the result of the run, as study_run returns it.""",
    StudyRequest,
    StudyCreated,
    starts=True,
    visits=True,
    positional=("name",),
    location="/v1/studies/{id}",
    example={
        "name": "German picker",
        "assignment": {"task": "Switch the shop to German", "success": {"url_contains": "/de/"}},
        "iteration": {"content": _CONTENT},
    },
)

STUDY_ADD_ITERATION = Operation(
    "study_add_iteration",
    "POST",
    "/v1/studies/{study_id}/iterations",
    Tier.WRITE,
    ("study", "write"),
    "Add an iteration to a study",
    """\
Add an iteration to a study: another version of the environment, to compare with earlier ones.

Iterations have the labels A, B, C… Returns the iteration. study_run runs the latest one unless you give
`iteration_id`.""",
    IterationRequest,
    Iteration,
    starts=True,
    location="/v1/studies/{study_id}?view=full",
    example={"content": _CONTENT, "max_interactions": 30},
)

STUDY_RUN = Operation(
    "study_run",
    "POST",
    "/v1/studies/{study_id}/run",
    Tier.LONG_RUNNING,
    ("dispatch", "study"),
    "Run a study",
    """\
Run a study: dispatch one new participant per person.

Give exactly one of `sample` (N people sampled from the workspace; the simplest form) and `person_ids`. The
workspace needs people first: person_create with `generate` creates them. Returns immediately with `ok: true` and
the new ids in `dispatch.participant_ids`, or with `wait: true` when all have finished. While participants run,
`next_action` is the next call. If the wait times out (`error_kind` "wait_timeout"), the runs continue: follow
next_action. Do not call study_run again, which dispatches all people a second time. Results: study_get; one
journey: participant_get; cancel: simulation_cancel.""",
    StudyRunRequest,
    RunStudyResponse,
    starts=True,
    visits=True,
    example={"sample": 5, "seed": 7},
)

STUDY_PAUSE = Operation(
    "study_pause",
    "POST",
    "/v1/studies/{study_id}/pause",
    Tier.WRITE,
    ("study", "write"),
    "Pause a study",
    """\
Pause a study: none of its participants starts, and those that run stop after their next interaction.

They become pending and keep everything; study_resume continues them from their last interactions. Runs of a paused
study wait for it. A study that is paused stays paused.""",
    EmptyRequest,
    StudyPause,
    repeatable=True,
)

STUDY_RESUME = Operation(
    "study_resume",
    "POST",
    "/v1/studies/{study_id}/resume",
    Tier.WRITE,
    ("study", "write"),
    "Resume a paused study",
    """\
Resume a paused study: its pending participants run again, from their last interactions.

A study that is not paused stays as it is. To resume a participant that has ended, use simulation_extend.""",
    EmptyRequest,
    StudyPause,
    repeatable=True,
    visits=True,
)

STUDY_LIST = Operation(
    "study_list",
    "GET",
    "/v1/studies",
    Tier.READ_ONLY,
    ("study", "read"),
    "List studies",
    "List the studies of the workspace, in order of creation.",
    OverviewQuery,
    Page[Study],
    example={"limit": 20},
)

STUDY_GET = Operation(
    "study_get",
    "GET",
    "/v1/studies/{study_id}",
    Tier.READ_ONLY,
    ("study", "read"),
    "Get a study",
    """\
Get one study.

`view` "summary" (the default) has counts by status, outcomes and sentiments; `partial` is true while a participant
runs, or if one failed. "per_participant" adds a row per participant with its highlight; "transcripts" adds the runs
as text; "full" is the study with its settings and iterations. `cursor` and `limit` page "per_participant" and
"transcripts".""",
    StudyQuery,
    StudyPerParticipant | StudyTranscripts | StudySummary | StudyFull,
    positional=("view",),
    views={
        "summary": StudySummary,
        "full": StudyFull,
        "per_participant": StudyPerParticipant,
        "transcripts": StudyTranscripts,
    },
    example={"view": "summary"},
)
