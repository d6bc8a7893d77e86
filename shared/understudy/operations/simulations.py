"""The operations cancel, extend and wait. Source: contract sections 3 to 5."""

from dataclasses import replace

from understudy.envelopes.simulations import CancelEnvelope, RunStudyResponse
from understudy.operations.operation import Operation, Tier
from understudy.operations.requests import CancelRequest, EmptyRequest, ExtendOptions, ExtendRequest, WaitRequest

SIMULATION_CANCEL = Operation(
    "simulation_cancel",
    "POST",
    "/v1/simulations/cancel",
    Tier.WRITE,
    ("simulation", "write"),
    "Cancel simulations",
    """\
Cancel pending or running simulations: the "stop" half of the reversible pair cancel and extend.

Set exactly one scope: `participant_id` (that one), `study_id` (all of the study), `iteration_id` (all of the
iteration) or `ask_id` (all of the ask, or with `round` those of one round). It deletes nothing: interactions stay,
and simulation_extend continues from the last interaction of a cancelled participant. The cancel is final when this
returns; you can repeat the call safely. Returns `cancelled` (each with `success`; if it is false, `status` holds the
error as "[code] message"), `skipped` with reasons (terminal participants need no cancel), and `summary` with counts.
See docs_get("concepts/cancelling-a-simulation").""",
    CancelRequest,
    CancelEnvelope,
    repeatable=True,
    is_never_refused=True,
    example={"study_id": "s-b2c"},
)

PARTICIPANT_CANCEL = replace(
    SIMULATION_CANCEL,
    name="participant_cancel",
    path="/v1/participants/{participant_id}/cancel",
    title="Cancel a participant",
    documentation="Cancel one participant: simulation_cancel with this participant as its scope.",
    request=EmptyRequest,
    example={},
    route_of="simulation_cancel",
)

SIMULATION_EXTEND = Operation(
    "simulation_extend",
    "POST",
    "/v1/simulations/extend",
    Tier.LONG_RUNNING,
    ("dispatch", "simulation"),
    "Extend a simulation",
    """\
Resume a terminal participant: the "start" half of the reversible pair cancel and extend.

The source must be completed, failed or cancelled; cancel a running one first. A new participant continues from the
source's last interaction, with `additional_steps` interactions beyond the source's cap; the source does not change.
`instruction` overrides the direction for the rest of the run, such as "Stop browsing - switch to the German picker."
Returns `ok: true` with the new id in `dispatch.participant_ids` immediately, or with `wait: true` when it has
finished. While it runs, `next_action` is the next call. If the wait times out (`error_kind` "wait_timeout"), the run
continues: follow next_action. Do not extend again, which creates another participant. See
docs_get("concepts/extending-a-simulation").""",
    ExtendRequest,
    RunStudyResponse,
    starts=True,
    visits=True,
    positional=("participant_id",),
    example={"participant_id": "t-1f3", "additional_steps": 10, "instruction": "Switch to the German picker."},
)

PARTICIPANT_EXTEND = replace(
    SIMULATION_EXTEND,
    name="participant_extend",
    path="/v1/participants/{participant_id}/extend",
    title="Extend a participant",
    documentation="Extend one participant: simulation_extend with this participant as its source.",
    request=ExtendOptions,
    example={"additional_steps": 10, "instruction": "Switch to the German picker."},
    route_of="simulation_extend",
)

SIMULATION_WAIT = Operation(
    "simulation_wait",
    "POST",
    "/v1/simulations/wait",
    Tier.READ_ONLY,
    ("simulation", "read"),
    "Wait for simulations",
    """\
Wait until all of these participants are completed, failed or cancelled, or `timeout` seconds pass.

A wait changes nothing, and its end cancels nothing. Returns `ok: true` with the final states in `participants`, or
`ok: false` with `error_kind` "wait_timeout", the finished count in `progress`, and in `next_action` the call that
continues the wait. If your client allows only short calls, use a short `timeout` and follow next_action until there
is none. See docs_get("reference/long-running-jobs").""",
    WaitRequest,
    RunStudyResponse,
    repeatable=True,
    positional=("participant_ids",),
    example={"participant_ids": ["t-1f3", "t-2e4"], "timeout": 60},
)
