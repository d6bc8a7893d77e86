"""The main job as the demo shows it: run, cancel, extend, wait and read, with a check of each step."""

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from pydantic import BaseModel
from rich.console import Console

from understudy.cli.journeys import journey_view
from understudy.cli.progress import Snapshot, available_rows, follow_run, study_poller
from understudy.cli.render import error_view, plain
from understudy.cli.studies import participants_table
from understudy.client import Understudy
from understudy.domain.errors import UnderstudyError
from understudy.domain.lifecycle import TERMINAL
from understudy.envelopes.participants import Interaction, Participant
from understudy.envelopes.simulations import CancelEnvelope

PEOPLE = 12
SEED = 7
MAX_INTERACTIONS = 20
TASK = "Buy a present for a friend: choose something, put it into the cart and order it."
SUCCESS_URL = "/order/confirmed"
INSTRUCTION = "Stop browsing - switch to the German picker."
ADDITIONAL_STEPS = 5

_TO_CANCEL = 3
#: Minimum interactions of a participant to cancel: it is in mid-run then.
_CANCEL_FROM = 3
_PHASE_LIMIT_S = 40.0
_POLL_INTERVAL_S = 0.25


class _FinalSnapshot(Snapshot):
    """A snapshot that ends the display while the run continues."""

    @property
    def over(self) -> bool:
        return True


class _DemoStopped(Exception):
    """A signal stopped the demo."""


class DemoScenario:
    """Shows the job once, on a running server and a running shop."""

    def __init__(self, server: str, token: str, shop_url: str, out: Console) -> None:
        self._client = Understudy(server, token)
        self._shop_url = shop_url
        self._out = out
        self._checks: list[tuple[str, bool]] = []
        self._finished = False
        self._stop_requested = False

    @property
    def succeeded(self) -> bool:
        """Returns whether the whole scenario ran and every check passed."""
        return self._finished and all(passed for _, passed in self._checks)

    def run(self) -> None:
        """Shows the whole scenario. An error of the server is printed and ends it."""
        try:
            with self._client:
                self._show()
        except _DemoStopped:
            pass
        except UnderstudyError as error:
            # Errors are expected while the stack stops.
            if not self._stop_requested:
                self._out.print(error_view(error))
        else:
            self._finished = True

    def stop(self) -> None:
        """Makes `run`, in another thread, end at its next poll."""
        self._stop_requested = True

    def _show(self) -> None:
        study_id = self._dispatch()
        cancelled = self._cancel_running(study_id)
        if not cancelled:
            return
        child_id = self._extend(cancelled[0])
        self._step("The other participants continue until they finish")
        follow_run(self._poller(study_id), self._out, limit_s=_PHASE_LIMIT_S, hint="")
        participants = self._client.participant_list(study_id=study_id, limit=500).items
        waited = self._client.simulation_wait([item.id for item in participants], timeout=_PHASE_LIMIT_S)
        self._check("simulation_wait reports all participants as finished", waited.ok)
        if child_id:
            self._read(child_id)
        self._step("Results of all participants")
        self._out.print(participants_table(participants))
        self._check_results(participants, cancelled)

    def _poller(self, study_id: UUID) -> Callable[[], Snapshot]:
        poll = study_poller(self._client, str(study_id), available_rows(self._out))

        def poll_unless_stopped() -> Snapshot:
            if self._stop_requested:
                raise _DemoStopped
            return poll()

        return poll_unless_stopped

    def _dispatch(self) -> UUID:
        self._step(f"Dispatching {PEOPLE} people to the shop: {TASK}")
        study = self._client.study_create(
            "Presents",
            assignment={"task": TASK, "success": {"url_contains": SUCCESS_URL}},
            iteration={"content": {"environment": "web", "url": self._shop_url}},
        )
        run = self._client.study_run(study.id, sample=PEOPLE, max_interactions=MAX_INTERACTIONS, seed=SEED)
        started = len(run.dispatch.participant_ids) if run.dispatch else 0
        self._check(f"{PEOPLE} participants are dispatched", run.ok and started == PEOPLE)
        return study.id

    def _cancel_running(self, study_id: UUID) -> list[Participant]:
        """Cancels participants in mid-run; returns them as they were right after the answer."""
        client, poll = self._client, self._poller(study_id)
        cancelled: list[Participant] = []
        answers: list[CancelEnvelope] = []

        def poll_and_cancel() -> Snapshot:
            snapshot = poll()
            running = client.participant_list(study_id=study_id, status="running").items
            midway = [item for item in running if item.interaction_count >= _CANCEL_FROM]
            midway.sort(key=lambda item: item.interaction_count)
            for item in midway[: _TO_CANCEL - len(cancelled)]:
                answer = client.simulation_cancel(participant_id=item.id)
                # The participant may have finished since the poll; the next poll then finds another one.
                if answer.summary.cancelled_count == 1:
                    answers.append(answer)
                    cancelled.append(client.participant_get(item.id))
            return _FinalSnapshot(*poll()) if len(cancelled) == _TO_CANCEL else snapshot

        follow_run(
            poll_and_cancel, self._out, limit_s=_PHASE_LIMIT_S, hint="", sleep=lambda _: time.sleep(_POLL_INTERVAL_S)
        )
        self._check(f"{_TO_CANCEL} participants are cancelled in mid-run", len(cancelled) == _TO_CANCEL)
        if cancelled:
            aliases = ", ".join(item.alias for item in cancelled)
            self._step(f"Cancelled in mid-run: {aliases}. Answer of simulation_cancel for {cancelled[0].alias}")
            self._envelope(answers[0])
        return cancelled

    def _extend(self, source: Participant) -> UUID | None:
        """Extends `source`; returns the id of the child, None if there is none."""
        self._step(f"Extending {source.alias} with: “{INSTRUCTION}” Answer of simulation_extend")
        with self._out.status("waiting until it finishes"):
            answer = self._client.simulation_extend(
                source.id, additional_steps=ADDITIONAL_STEPS, instruction=INSTRUCTION, wait=True, timeout=_PHASE_LIMIT_S
            )
        self._envelope(answer)
        self._check("the extended participant finished during the wait", answer.ok)
        dispatch = answer.dispatch
        if dispatch is None:
            return None
        self._check(
            f"it inherits the {source.interaction_count} interactions of {source.alias}",
            dispatch.inherited_interactions == source.interaction_count
            and dispatch.max_interactions == source.max_interactions + ADDITIONAL_STEPS,
        )
        return dispatch.participant_ids[0]

    def _read(self, child_id: UUID) -> None:
        """Prints the child's journey and checks that the child followed the instruction."""
        child = self._client.participant_get(child_id)
        journey = self._client.participant_interactions(child_id, limit=500).items
        self._step(f"Journey of {child.alias}: inherited interactions, instruction, own interactions")
        self._out.print(journey_view(child, journey))
        own = [step for step in journey if step.participant_id == child.id]
        self._check(
            "its first own interaction uses the German picker",
            bool(own) and own[0].index == child.branched_at and _uses_german_picker(own[0]),
        )
        entries = self._client.participant_transcript(child_id).items
        found = [k for k, entry in enumerate(entries) if entry.role == "user" and entry.content == INSTRUCTION]
        indexes = [child.branched_at - 1 if entry.index is None else entry.index for entry in entries]
        first_own = next((k for k, index in enumerate(indexes) if index >= child.branched_at), len(entries))
        self._out.print(plain("In its transcript:"), *(plain(f"user: {entries[k].content}") for k in found))
        self._check("its transcript has the instruction first", len(found) == 1 and found[0] < first_own)

    def _check_results(self, participants: Sequence[Participant], cancelled: Sequence[Participant]) -> None:
        final = {item.id: item for item in participants}
        self._out.print()
        self._check("all participants finished", all(item.status in TERMINAL for item in participants))
        self._check("no participant failed", all(item.status != "failed" for item in participants))
        self._check("at least one succeeded", any(item.outcome == "succeeded" for item in participants))
        self._check(
            "the cancelled ones have no interaction after the answer",
            all(
                final[item.id].status == "cancelled" and final[item.id].interaction_count == item.interaction_count
                for item in cancelled
            ),
        )

    def _step(self, title: str) -> None:
        self._out.print()
        self._out.print(plain(f"── {title}", "bold"))

    def _envelope(self, answer: BaseModel) -> None:
        self._out.print_json(answer.model_dump_json())

    def _check(self, claim: str, passed: bool) -> None:
        self._checks.append((claim, passed))
        self._out.print(plain(f"✓ {claim}", "green") if passed else plain(f"✗ NOT: {claim}", "bold red"))


def _uses_german_picker(step: Interaction) -> bool:
    value = str(step.action.get("value") or "").casefold()
    return step.action.get("kind") == "choose" and value in {"de", "deutsch", "german"}
