"""All tools, in the order of contract section 6."""

from understudy.mcp.asks import ask_get, ask_round, ask_run
from understudy.mcp.docs import docs_get
from understudy.mcp.people import participant_get, person_create, person_get
from understudy.mcp.simulations import simulation_cancel, simulation_extend, simulation_wait
from understudy.mcp.studies import study_add_iteration, study_create, study_get, study_run
from understudy.mcp.tool import Tool

TOOLS: tuple[Tool, ...] = (
    study_create,
    study_add_iteration,
    study_run,
    study_get,
    ask_run,
    ask_round,
    ask_get,
    person_create,
    person_get,
    participant_get,
    simulation_cancel,
    simulation_extend,
    simulation_wait,
    docs_get,
)

INSTRUCTIONS = """\
Understudy runs simulations: people (profiles) take part in studies of a website, each as a participant that
goes step by step (interactions) until it is completed, fails, is cancelled or reaches its cap.

The usual course:
1. person_create {"generate": 20} when the workspace has no people yet (person_get lists them).
2. study_create with a task and an iteration that names the website.
3. study_run with "sample"; it returns at once with the ids of the new participants.
4. simulation_wait, as `next_action` in the answer says.
5. study_get with view "summary" or "per_participant"; participant_get with view "transcript" for one journey.

Questions about texts go the same way with asks: ask_run, simulation_wait, ask_get; ask_round asks the same
people again.

Stopping and going on: simulation_cancel stops what is queued or runs, at once and without deleting anything.
simulation_extend takes a finished or cancelled participant up again as a new one, with more steps and, if you
like, an `instruction` that overrides what it was doing.

Waiting: an answer with `next_action` is not the end; make that call, with those arguments, to get the result.
A wait that ran out (`error_kind` "wait_timeout") stopped nothing: the runs go on. Follow `next_action`; never
call study_run, ask_run, ask_round or simulation_extend again to wait, as that starts new participants.

Ids are UUIDs or short aliases: s- study, i- iteration, t- participant, a- ask, tp- person. Errors begin with
"[error_code]" and say what would be right. docs_get lists and shows the documentation.
"""
