"""Clients of a cluster: they run, cancel, extend and wait, repeat unanswered requests, and keep each response."""

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import httpx

from tests.factories import make_study, make_workspace
from understudy.domain.lifecycle import TERMINAL
from understudy.store.engine import Store

#: A client picks among its latest participants: some run, some have ended.
LATEST = 40
#: How wrong an answer's time may be: the store's clock has milliseconds only.
CLOCK_S = 0.005


class State(NamedTuple):
    """A terminal participant as a response shows it."""

    status: str
    outcome: str | None
    interaction_count: int
    error_kind: str | None


@dataclass
class ResponseLog:
    """The responses to clients; each must remain true."""

    #: Idempotency-Key of each run and extend that was sent -> the dispatch of its response, if it got one.
    dispatched: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    #: Keys of refused requests: they must have created nothing.
    refused: set[str] = field(default_factory=set)
    #: Participants whose cancel was answered, and when the first response came.
    cancelled: dict[str, float] = field(default_factory=dict)
    #: Participants that a response skipped as terminal, and when.
    terminal: dict[str, float] = field(default_factory=dict)
    #: The states of terminal participants.
    states: dict[str, State] = field(default_factory=dict)
    #: Responses that no client should ever get.
    wrong: list[str] = field(default_factory=list)
    #: Responses by kind.
    answers: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ids(self) -> list[str]:
        with self.lock:
            return [id_ for one in self.dispatched.values() if one for id_ in one["participant_ids"]]

    def note_states(self, states: list[dict[str, Any]]) -> None:
        """Each later response must show the same terminal state."""
        with self.lock:
            for one in states:
                state = State(*(one[name] for name in State._fields))
                if state.status in TERMINAL:
                    before = self.states.setdefault(one["participant_id"], state)
                    if before != state:
                        self.wrong.append(f"{one['participant_id']} was {before}, then {state}")


class RequestSignals:
    """Signals from clients that are about to send a request."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counts: Counter[str] = Counter()

    def send(self, kind: str) -> None:
        with self._changed:
            self._counts[kind] += 1
            self._changed.notify_all()

    def wait(self, kind: str, timeout_s: float) -> bool:
        """Waits until a client is about to send such a request; False after the timeout."""
        with self._changed:
            before = self._counts[kind]
            return self._changed.wait_for(lambda: self._counts[kind] > before, timeout_s)


class Client(threading.Thread):
    """Sends requests until it is stopped. Its n-th choice depends on its seed and n only."""

    def __init__(
        self, api: str, token: str, study: UUID, responses: ResponseLog, seed: str, signals: RequestSignals
    ) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(
            base_url=api,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            trust_env=False,
            verify=False,  # reading the certificates takes longer than most requests
        )
        self._study = study
        self._responses = responses
        self._seed = seed
        self._signals = signals
        self._sent = 0
        #: The ids of its participants, in order.
        self._mine: list[str] = []
        self.stopping = threading.Event()
        #: Set while enough participants are active: the client then dispatches none.
        self.pausing = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            chance = random.Random(f"{self._seed} {number}")
            actions = [self._run, self._cancel, self._extend, self._wait]
            action = chance.choices(actions, weights=[4, 2, 3, 2])[0]
            pause_s = chance.uniform(0.1, 0.8)
            if action in {self._cancel, self._wait} or not self.pausing.is_set():
                action(chance)
            self.stopping.wait(pause_s)
        self.close()

    def create_study(self) -> bool:
        """Creates a study; False if there is no response."""
        body = {"name": "Another", "modality": "interactive", "assignment": {"task": "Look around"}}
        try:
            return self._http.post("/v1/studies", json=body).status_code == 201
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def can_reach(self) -> bool:
        """Whether the API answers."""
        return self._get("/healthz") is not None

    def status(self, id_: str) -> str:
        """The status of a participant; empty while the API is unavailable."""
        answer = self._get(f"/v1/participants/{id_}")
        return str(answer.json()["status"]) if answer else ""

    def stop_is_known(self, id_: str) -> bool:
        """Whether the stop of a cancelled participant is recorded."""
        answer = self._get(f"/v1/participants/{id_}")
        return answer is not None and answer.json()["stopped_at"] is not None

    def _get(self, path: str) -> httpx.Response | None:
        """The response, if it is a success."""
        with contextlib.suppress(httpx.HTTPError):
            answer = self._http.get(path)
            return answer if answer.is_success else None
        return None

    def dispatch_run(self, count: int, steps: int, *, seed: int = 0, timeout: float = 0) -> list[str]:
        """Runs `count` people, and waits for them if there is a timeout; their ids."""
        body = {"sample": count, "max_interactions": steps, "seed": seed} | _waiting(timeout)
        return self._dispatch("run", f"/v1/studies/{self._study}/run", body, count)

    def extend(self, source: str, steps: int, *, timeout: float = 0) -> list[str]:
        """Extends a participant, if it is terminal."""
        body = {"participant_id": source, "additional_steps": steps} | _waiting(timeout)
        return self._dispatch("extend", "/v1/simulations/extend", body, 1)

    def cancel(self, id_: str) -> None:
        """Cancels one participant."""
        self._cancel_scope({"participant_id": id_}, [id_])

    def wait(self, ids: list[str], timeout: float) -> None:
        """Waits for these until the timeout."""
        body = {"participant_ids": ids, "timeout": timeout}
        answer = self._until_answered("wait", "/v1/simulations/wait", body, {})
        if answer is not None and self._is_dispatch(answer, "wait"):
            self._check_waited(answer, ids, "wait", waited=True)

    # -- choices ------------------------------------------------------------------------------------------

    def _run(self, chance: random.Random) -> None:
        count, steps, timeout = chance.randint(2, 12), chance.randint(3, 25), chance.uniform(-4, 1)
        self.dispatch_run(count, steps, seed=chance.randint(0, 99), timeout=timeout)

    def _extend(self, chance: random.Random) -> None:
        place, steps, timeout = chance.random(), chance.randint(1, 10), chance.uniform(-4, 1)
        for id_ in self._pick(place, 1):
            self.extend(id_, steps, timeout=timeout)

    def _cancel(self, chance: random.Random) -> None:
        place, whole_study = chance.random(), chance.random() < 0.02
        if whole_study:
            self._cancel_scope({"study_id": str(self._study)}, list(self._mine))
            return
        for id_ in self._pick(place, 1):
            self.cancel(id_)

    def _wait(self, chance: random.Random) -> None:
        place, count, timeout = chance.random(), chance.randint(1, 8), chance.uniform(0.1, 2)
        if ids := self._pick(place, count):
            self.wait(ids, timeout)

    def _pick(self, place: float, count: int) -> list[str]:
        latest = self._mine[-LATEST:]
        at = int(place * len(latest))
        return latest[at : at + count]

    # -- requests and checks of their responses ------------------------------------------------------------

    def _dispatch(self, kind: str, path: str, body: dict[str, Any], count: int) -> list[str]:
        """Sends it until it is answered; the ids. Repeats have the same key."""
        self._sent += 1
        key = f"{self._seed} {self._sent}"
        with self._responses.lock:
            self._responses.dispatched[key] = None
        answer = self._until_answered(kind, path, body, {"Idempotency-Key": key})
        if answer is None:
            return []
        if answer.status_code == 422 and kind == "extend":
            # Its source is not terminal.
            self._responses.refused.add(key)
            return []
        if not self._is_dispatch(answer, kind):
            return []
        dispatch = answer.json()["dispatch"]
        ids: list[str] = dispatch["participant_ids"]
        with self._responses.lock:
            self._responses.dispatched[key] = dispatch
        self._mine += ids
        self._check_waited(answer, ids, kind, waited="wait" in body)
        if len(set(ids)) != count:
            self._wrong(f"{kind}: {len(ids)} ids for {count}")
        if kind == "extend" and dispatch["extended_from"] != body["participant_id"]:
            self._wrong(f"extend: {body['participant_id']} was asked for, got {dispatch}")
        return ids

    def _is_dispatch(self, answer: httpx.Response, kind: str) -> bool:
        if answer.status_code in {200, 202} and "dispatch" in answer.json():
            return True
        self._wrong(f"{kind}: {answer.status_code} {answer.text}")
        return False

    def _check_waited(self, answer: httpx.Response, ids: list[str], kind: str, *, waited: bool) -> None:
        """Checks that the response shows the states of `ids` and agrees with itself."""
        body = answer.json()
        states = body["participants"]
        self._responses.note_states(states)
        done = [one["status"] in TERMINAL for one in states]
        if [one["participant_id"] for one in states] != ids or body["dispatch"]["participant_ids"] != ids:
            self._wrong(f"{kind}: not the states of {ids}: {body}")
        if body["ok"] and waited and not all(done):
            self._wrong(f"{kind}: waited, and not all are done: {body}")
        if not body["ok"] and (
            body["error_kind"] != "wait_timeout"
            or all(done)
            or body["progress"] != {"done": sum(done), "total": len(ids)}
        ):
            self._wrong(f"{kind}: {body}")
        if (body.get("next_action") is None) != all(done):
            self._wrong(f"{kind}: next_action does not fit: {body}")

    def _cancel_scope(self, scope: dict[str, str], known: list[str]) -> None:
        """`known`: participants that must be reported, because they existed before this request."""
        answer = self._until_answered("cancel", "/v1/simulations/cancel", scope, {})
        if answer is None:
            return
        if answer.status_code != 200:
            self._wrong(f"cancel: {answer.status_code} {answer.text}")
            return
        at = time.time() + CLOCK_S
        envelope = answer.json()
        cancelled, skipped = envelope["cancelled"], envelope["skipped"]
        good = [one["participant_id"] for one in cancelled if one["success"]]
        total = len(cancelled) + len(skipped)
        summary = {"total": total, "cancelled_count": len(good), "skipped_count": len(skipped)}
        if failed := len(cancelled) - len(good):
            summary["failed_count"] = failed
        if envelope["summary"] != summary:
            self._wrong(f"cancel: {envelope['summary']} for {summary}")
        reported = {one["participant_id"] for one in (*cancelled, *skipped)}
        if not reported >= set(known) or len(reported) != summary["total"]:
            self._wrong(f"cancel: {sorted(set(known) - reported)} not reported, or some twice")
        if any(one["reason"] != "already_terminal" for one in skipped):
            self._wrong(f"cancel: {skipped}")
        with self._responses.lock:
            for id_ in good:
                self._responses.cancelled.setdefault(id_, at)
            for one in skipped:
                self._responses.terminal.setdefault(one["participant_id"], at)

    def _wrong(self, what: str) -> None:
        with self._responses.lock:
            self._responses.wrong.append(what)

    def _until_answered(
        self, kind: str, path: str, body: dict[str, Any], headers: dict[str, str], timeout_s: float = 60
    ) -> httpx.Response | None:
        """The first response that is not retryable; None if there is none in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not self.stopping.is_set():
            self._signals.send(kind)
            try:
                answer = self._http.post(path, json=body, headers=headers)
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            if answer.status_code >= 500 and answer.json()["retryable"]:
                self._responses.answers[f"{answer.status_code}s, all retryable"] += 1
                time.sleep(0.2)
                continue
            self._responses.answers[f"{kind}s answered"] += 1
            return answer
        self._responses.answers[f"{kind}s never answered"] += 1
        return None


def _waiting(timeout: float) -> dict[str, Any]:
    return {"wait": True, "timeout": timeout} if timeout > 0 else {}


def make_clients(
    store: Store,
    api: str,
    responses: ResponseLog,
    count: int,
    seed: object,
    signals: RequestSignals | None = None,
    content: dict[str, object] | None = None,
) -> list[Client]:
    """Creates clients of two workspaces in turn, with a study each whose steps take a moment."""
    tokens = [make_workspace(store, f"chaos {seed} {number}", 20) for number in range(min(count, 2))]
    signals = signals or RequestSignals()
    return [
        Client(
            api,
            token.secret,
            make_study(store, token.workspace_id, content=content or {"delay_s": 0.2})[0],
            responses,
            f"{seed} {number}",
            signals,
        )
        for number, token in zip(range(count), itertools.cycle(tokens), strict=False)
    ]
