"""Clients of a town: they run, cancel and extend, repeat what got no answer, and write down every answer."""

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx

from shared.store.engine import Store
from tests.factories import make_study, make_workspace


@dataclass
class Ledger:
    """What clients were answered; everything in it must hold for ever."""

    #: Idempotency-Key of a run or extend -> the ids it was answered with.
    dispatched: dict[str, list[str]] = field(default_factory=dict)
    #: Keys whose request never got an answer: it may have been done or not.
    unanswered: dict[str, int] = field(default_factory=dict)
    #: Child -> source, as extends were answered.
    extended: dict[str, str] = field(default_factory=dict)
    #: Who was answered as cancelled.
    cancelled: set[str] = field(default_factory=set)
    #: Answers that no client should ever get.
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ids(self) -> list[str]:
        with self.lock:
            return [id_ for ids in self.dispatched.values() for id_ in ids]


class Client(threading.Thread):
    """Works until told to stop; seeded."""

    def __init__(self, api: str, token: str, study: UUID, ledger: Ledger, seed: str) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(
            base_url=api, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )
        self._study = study
        self._ledger = ledger
        self._chance = random.Random(seed)
        self.stopping = threading.Event()
        #: Set while there is enough to do: nothing new is dispatched then.
        self.patient = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            action = self._chance.choices([self._run, self._cancel, self._extend], weights=[4, 3, 3])[0]
            if action == self._cancel or not self.patient.is_set():
                action()
            self.stopping.wait(self._chance.uniform(0.1, 1.0))
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def can_reach(self) -> bool:
        """Does the API answer at all?"""
        try:
            return self._http.get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def status(self, id_: str) -> str:
        """Where a participant stands; empty when nobody answers just now."""
        try:
            answer = self._http.get(f"/v1/participants/{id_}")
        except httpx.HTTPError:
            return ""
        return str(answer.json()["status"]) if answer.status_code == 200 else ""

    def dispatch_run(self, people: int, steps: int) -> list[str]:
        """Run so many people; their ids, or none when the study could not be run."""
        body = {"sample": people, "max_interactions": steps, "seed": self._chance.randint(0, 99)}
        return self._dispatch(f"/v1/studies/{self._study}/run", body, people)

    def extend(self, source: str, steps: int) -> list[str]:
        """Extend a participant, if it is terminal."""
        body = {"participant_id": source, "additional_steps": steps}
        children = self._dispatch("/v1/simulations/extend", body, 1)
        for child in children:
            self._ledger.extended[child] = source
        return children

    def _run(self) -> None:
        self.dispatch_run(self._chance.randint(2, 12), self._chance.randint(3, 25))

    def _extend(self) -> None:
        if known := self._ledger.ids:
            self.extend(self._chance.choice(known), self._chance.randint(1, 10))

    def _dispatch(self, path: str, body: dict[str, Any], most: int) -> list[str]:
        """Send it until it is answered; the ids. Repeats carry the same key."""
        key = str(uuid4())
        answer = self._until_answered(path, body, {"Idempotency-Key": key})
        if answer is None:
            with self._ledger.lock:
                self._ledger.unanswered[key] = most
            return []
        if answer.status_code == 422 and path.endswith("extend"):
            # Its source still runs.
            return []
        if answer.status_code not in {200, 202}:
            self._ledger.wrong.append(f"{path}: {answer.status_code} {answer.text}")
            return []
        ids: list[str] = answer.json()["dispatch"]["participant_ids"]
        with self._ledger.lock:
            self._ledger.dispatched[key] = ids
        return ids

    def _cancel(self) -> None:
        known = self._ledger.ids
        if self._chance.random() < 0.05:
            self._cancel_scope({"study_id": str(self._study)})
        elif known:
            self.cancel(self._chance.choice(known))

    def cancel(self, id_: str) -> None:
        """Cancel one participant."""
        self._cancel_scope({"participant_id": id_})

    def _cancel_scope(self, scope: dict[str, str]) -> None:
        answer = self._until_answered("/v1/simulations/cancel", scope, {})
        if answer is None:
            return
        if answer.status_code != 200:
            self._ledger.wrong.append(f"cancel: {answer.status_code} {answer.text}")
            return
        envelope = answer.json()
        summary = envelope["summary"]
        if summary["total"] != len(envelope["cancelled"]) + len(envelope["skipped"]):
            self._ledger.wrong.append(f"cancel: {summary}")
        with self._ledger.lock:
            for item in envelope["cancelled"]:
                if item["success"]:
                    self._ledger.cancelled.add(item["participant_id"])

    def _until_answered(
        self, path: str, body: dict[str, Any], headers: dict[str, str], timeout_s: float = 60
    ) -> httpx.Response | None:
        """The first answer that is not "again later"; None when there is none in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                answer = self._http.post(path, json=body, headers=headers)
            except httpx.HTTPError:
                time.sleep(0.3)
                continue
            if answer.status_code >= 500 and answer.json()["retryable"]:
                time.sleep(0.3)
                continue
            return answer
        return None


def make_clients(store: Store, api: str, ledger: Ledger, count: int, seed: int) -> list[Client]:
    """Clients of one workspace, and one study whose steps take a moment each."""
    made = make_workspace(store, f"chaos {seed}")
    from shared.domain.people import generate_people
    from shared.store import people

    store.write(
        lambda connection: people.insert_people(connection, made.workspace_id, generate_people(20, seed))
    )
    study, _ = make_study(store, made.workspace_id, content={"delay_s": 0.15})
    return [Client(api, made.secret, study, ledger, f"{seed} {number}") for number in range(count)]
