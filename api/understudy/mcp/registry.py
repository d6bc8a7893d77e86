"""All tools in the order of contract section 6, and the instructions for models."""

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
Understudy runs simulations: people (profiles) take part in studies of a website. Each person is a participant
that acts in steps (interactions) until it is completed, fails, is cancelled or reaches its cap.

The usual order of calls:
1. person_create {"generate": 20} if the workspace has no people (person_get lists them).
2. study_create with a task and an iteration that names the website.
3. study_run with "sample"; it returns immediately with the ids of the new participants.
4. simulation_wait, with the arguments in `next_action` of the result.
5. study_get with view "summary" or "per_participant"; participant_get with view "transcript" for one journey.

Asks about texts use the same order: ask_run, simulation_wait, ask_get. ask_round asks the same people again.

Cancel and extend: simulation_cancel immediately cancels pending and running participants and deletes nothing.
simulation_extend continues from a finished or cancelled participant as a new participant. It adds more
interactions and can add an `instruction` that overrides the assignment.

Waiting: a result with `next_action` is not final; make that call with those arguments to get the result.
A wait that times out (`error_kind` "wait_timeout") cancels nothing: the runs continue. Follow `next_action`
and never call study_run, ask_run, ask_round or simulation_extend to wait: they start new participants.

Ids are UUIDs or short aliases: s- study, i- iteration, t- participant, a- ask, tp- person. Errors start with
"[error_code]" and say how to correct the call. docs_get lists and shows the documentation.
"""
