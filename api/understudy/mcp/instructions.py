"""The instructions that a model reads first. The first 512 characters suffice: some hosts cut there."""

INSTRUCTIONS = """\
Understudy runs simulations: people take part in studies of a website, a chat or texts. Order of calls: person_create
{"generate": 20}, study_create, study_run {"sample": 5}, then the call in `next_action` until a result has none, then
study_get. Asks about texts: ask_run, ask_get. simulation_cancel stops runs and deletes nothing; simulation_extend
resumes a finished or cancelled participant. Never start again to wait: follow `next_action`. Errors say what to do.

Each person is a participant that acts in steps (interactions) until it is completed, fails, is cancelled or reaches
its cap. study_create takes the task and an iteration that names the website; ask_round asks the same people again.
participant_get with view "transcript" shows one journey.

simulation_extend continues from the last interaction as a new participant: it adds more interactions, and can add an
`instruction` that overrides the assignment.

A wait that times out (`error_kind` "wait_timeout") cancels nothing: the runs continue. study_run, ask_run, ask_round
and simulation_extend start new participants each time, except calls with the same `idempotency_key`.

Ids are UUIDs or short aliases: s- study, i- iteration, t- participant, a- ask, tp- person. Errors start with
"[error_code]" and say how to correct the call. docs_get lists and shows the documentation.
"""
