"""The main job as the demo shows it: run, cancel, extend, wait, read; and a check of each step."""

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
#: Cancelled are those who are this far: in the middle of it.
_CANCEL_FROM = 3
_PHASE_LIMIT_S = 40.0
_POLL_INTERVAL_S = 0.25


class _FinalSnapshot(Snapshot):
    """A look that ends the display although the run goes on."""

    @property
    def over(self) -> bool:
        return True


class _DemoStopped(Exception):
    """Nobody wants to see the rest."""


class DemoScenario:
    """Shows the job once, on a server that runs, to people who shop in a shop that runs."""

    def __init__(self, server: str, token: str, shop_url: str, out: Console) -> None:
        self._client = Understudy(server, token)
        self._shop_url = shop_url
        self._out = out
        self._checks: list[tuple[str, bool]] = []
        self._finished = False
        self._abandoned = False

    @property
    def succeeded(self) -> bool:
        """Was everything shown, and did all of it happen as it should?"""
        return self._finished and all(held for _, held in self._checks)

    def run(self) -> None:
        """Shows everything. An error of the server is printed and ends it."""
        try:
            with self._client:
                self._show()
        except _DemoStopped:
            pass
        except UnderstudyError as error:
            # While everything is being stopped nobody wonders that nothing answers.
            if not self._abandoned:
                self._out.print(error_view(error))
        else:
            self._finished = True

    def stop(self) -> None:
        """Makes `run`, in another thread, end at its next look."""
        self._abandoned = True

    def _show(self) -> None:
        study_id = self._dispatch()
        cancelled = self._cancel_running(study_id)
        if not cancelled:
            return
        child_id = self._extend(cancelled[0])
        self._step("The others go on to their end")
        follow_run(self._look_at(study_id), self._out, limit_s=_PHASE_LIMIT_S, hint="")
        everybody = self._client.participant_list(study_id=study_id, limit=500).items
        waited = self._client.simulation_wait([one.id for one in everybody], timeout=_PHASE_LIMIT_S)
        self._check("simulation_wait knows all of them at their end", waited.ok)
        if child_id:
            self._read(child_id)
        self._step("How all of them ended")
        self._out.print(participants_table(everybody))
        self._check_ends(everybody, cancelled)

    def _look_at(self, study_id: UUID) -> Callable[[], Snapshot]:
        look = study_poller(self._client, str(study_id), available_rows(self._out))

        def look_unless_abandoned() -> Snapshot:
            if self._abandoned:
                raise _DemoStopped
            return look()

        return look_unless_abandoned

    def _dispatch(self) -> UUID:
        self._step(f"{PEOPLE} people are sent into the shop: {TASK}")
        study = self._client.study_create(
            "Presents",
            assignment={"task": TASK, "success": {"url_contains": SUCCESS_URL}},
            iteration={"content": {"environment": "web", "url": self._shop_url}},
        )
        run = self._client.study_run(study.id, sample=PEOPLE, max_interactions=MAX_INTERACTIONS, seed=SEED)
        started = len(run.dispatch.participant_ids) if run.dispatch else 0
        self._check(f"{PEOPLE} participants were dispatched", run.ok and started == PEOPLE)
        return study.id

    def _cancel_running(self, study_id: UUID) -> list[Participant]:
        """Those who were cancelled in the middle of their run, as they were right after the answer."""
        client, look = self._client, self._look_at(study_id)
        cancelled: list[Participant] = []
        answers: list[CancelEnvelope] = []

        def look_and_cancel() -> Snapshot:
            seen = look()
            running = client.participant_list(study_id=study_id, status="running").items
            midway = [one for one in running if one.interaction_count >= _CANCEL_FROM]
            for one in sorted(midway, key=lambda one: one.interaction_count)[: _TO_CANCEL - len(cancelled)]:
                answer = client.simulation_cancel(participant_id=one.id)
                # It may have come to its end by itself while we looked; then somebody else is next.
                if answer.summary.cancelled_count == 1:
                    answers.append(answer)
                    cancelled.append(client.participant_get(one.id))
            return _FinalSnapshot(*look()) if len(cancelled) == _TO_CANCEL else seen

        follow_run(
            look_and_cancel,
            self._out,
            limit_s=_PHASE_LIMIT_S,
            hint="",
            sleep=lambda _: time.sleep(_POLL_INTERVAL_S),
        )
        self._check(f"{_TO_CANCEL} were cancelled in the middle of it", len(cancelled) == _TO_CANCEL)
        if cancelled:
            aliases = ", ".join(one.alias for one in cancelled)
            self._step(
                f"Cancelled in mid-run: {aliases}. What simulation_cancel answered for {cancelled[0].alias}"
            )
            self._envelope(answers[0])
        return cancelled

    def _extend(self, source: Participant) -> UUID | None:
        """The new participant that goes on where `source` was stopped; None if there is none."""
        self._step(f"{source.alias} goes on and is told: “{INSTRUCTION}” What simulation_extend answered")
        with self._out.status("waiting for its end"):
            answer = self._client.simulation_extend(
                source.id,
                additional_steps=ADDITIONAL_STEPS,
                instruction=INSTRUCTION,
                wait=True,
                timeout=_PHASE_LIMIT_S,
            )
        self._envelope(answer)
        self._check("it was extended and came to its end while we waited", answer.ok)
        dispatch = answer.dispatch
        if dispatch is None:
            return None
        self._check(
            f"it took over the {source.interaction_count} interactions of {source.alias}",
            dispatch.inherited_interactions == source.interaction_count
            and dispatch.max_interactions == source.max_interactions + ADDITIONAL_STEPS,
        )
        return dispatch.participant_ids[0]

    def _read(self, child_id: UUID) -> None:
        """Prints the journey of the extended participant and checks that it did what it was told."""
        child = self._client.participant_get(child_id)
        journey = self._client.participant_interactions(child_id, limit=500).items
        self._step(f"The journey of {child.alias}: what it inherited, what it was told, what it did")
        self._out.print(journey_view(child, journey))
        own = [step for step in journey if step.participant_id == child.id]
        self._check(
            "the first thing it did of its own was to use the German picker",
            bool(own) and own[0].index == child.branched_at and _uses_german_picker(own[0]),
        )
        entries = self._client.participant_transcript(child_id).items
        told = [k for k, entry in enumerate(entries) if entry.role == "user" and entry.content == INSTRUCTION]
        first_own = next(
            (
                k
                for k, entry in enumerate(entries)
                if (entry.index or 0) >= child.branched_at and entry.index is not None
            ),
            len(entries),
        )
        self._out.print(plain("In its transcript:"), *(plain(f"user: {entries[k].content}") for k in told))
        self._check("its transcript has the instruction before that", len(told) == 1 and told[0] < first_own)

    def _check_ends(self, everybody: Sequence[Participant], cancelled: Sequence[Participant]) -> None:
        ended = {one.id: one for one in everybody}
        self._out.print()
        self._check("everybody came to an end", all(one.status in TERMINAL for one in everybody))
        self._check("nobody failed", all(one.status != "failed" for one in everybody))
        self._check("some got what they came for", any(one.outcome == "succeeded" for one in everybody))
        self._check(
            "nothing was added to the cancelled ones after the answer",
            all(
                ended[one.id].status == "cancelled"
                and ended[one.id].interaction_count == one.interaction_count
                for one in cancelled
            ),
        )

    def _step(self, title: str) -> None:
        self._out.print()
        self._out.print(plain(f"── {title}", "bold"))

    def _envelope(self, answer: BaseModel) -> None:
        self._out.print_json(answer.model_dump_json())

    def _check(self, what: str, held: bool) -> None:
        self._checks.append((what, held))
        self._out.print(plain(f"✓ {what}", "green") if held else plain(f"✗ NOT: {what}", "bold red"))


def _uses_german_picker(step: Interaction) -> bool:
    value = str(step.action.get("value") or "").casefold()
    return step.action.get("kind") == "choose" and value in {"de", "deutsch", "german"}
