"""A server on loopback with documented answers, for tests of its clients."""

import json
import threading
import time
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit
from uuid import UUID

from understudy.domain.errors import ERROR_RULES
from understudy.envelopes.base import Envelope
from understudy.envelopes.participants import Interaction, Participant
from understudy.envelopes.people import Person
from understudy.envelopes.simulations import ParticipantState
from understudy.envelopes.studies import Iteration, StudyFull, StudySummary

T1 = "1f3a0000-0000-4000-8000-000000000001"
T2 = "2e4b0000-0000-4000-8000-000000000002"
S1 = "b2c00000-0000-4000-8000-000000000003"
I1 = "c3d00000-0000-4000-8000-000000000004"
NOW = "2024-01-01T00:00:00.000000Z"


_EMPTY: dict[Any, Any] = {int: 0, float: 0.0, str: "", bool: False, list: [], dict: {}, UUID: T1, datetime: NOW}


def example(model: type[Envelope], **given: Any) -> dict[str, Any]:
    """The JSON of an envelope: `given`, and null, zero or an empty value for its other required fields."""
    required = {name: field.annotation for name, field in model.model_fields.items() if field.is_required()}
    return {
        name: None if type(None) in get_args(kind) else _EMPTY[get_origin(kind) or kind]
        for name, kind in required.items()
        if name not in given
    } | given


def state(id_: str, status: str = "pending") -> dict[str, Any]:
    return example(ParticipantState, participant_id=id_, status=status)


def error_body(code: str) -> dict[str, Any]:
    rule = ERROR_RULES[code]
    return {
        "error": f"This is [red]{code}[/red].",
        "error_code": code,
        "retryable": rule.retryable,
        "suggestions": ["Do this.", "Or that."],
    }


NEXT = {
    "tool": "simulation_wait",
    "arguments": {"participant_ids": [T1], "timeout": 600.0},
    "rest": "POST /v1/simulations/wait",
    "cli": "understudy wait t-1f3 --timeout 600",
    "poll_after_seconds": 5,
    "why": "It is not over yet.",
}
DISPATCHED = {
    "ok": True,
    "dispatch": {"participant_ids": [T1], "aliases": ["t-1f3"]},
    "participants": [state(T1)],
    "next_action": NEXT,
    "a_field_of_a_newer_server": [1, 2],
}
OVER = {**DISPATCHED, "participants": [state(T1, "completed")]}
del OVER["next_action"]
TOO_LATE = {
    "ok": False,
    "error_kind": "wait_timeout",
    **error_body("wait_timeout"),
    "dispatch": {"participant_ids": [T1]},
    "participants": [state(T1, "running")],
    "progress": {"done": 0, "total": 1},
    "next_action": NEXT,
}


def cancel_envelope(cancelled: list[Any], skipped: list[Any]) -> dict[str, Any]:
    counts = {"cancelled_count": len(cancelled), "skipped_count": len(skipped)}
    return {"cancelled": cancelled, "skipped": skipped, "summary": {"total": sum(counts.values()), **counts}}


CANCELLED = cancel_envelope([{"participant_id": T1, "success": True, "status": "cancelled"}], [])
SKIPPED = cancel_envelope([], [{"participant_id": T2, "reason": "already_terminal"}])
STUDY = example(
    StudyFull,
    id=S1,
    alias="s-b2c",
    name="Buy a lamp",
    modality="interactive",
    status="active",
    assignment={"task": "Buy a lamp", "success": {"url_contains": "/thanks"}},
    iterations=[example(Iteration, id=I1, alias="i-c3d", label="A", content={"environment": "web"}, mind="heuristic")],
)
PERSON = example(
    Person,
    alias="tp-1f3",
    name="Ana \x1b[31m[bold]Ruiz",
    age=41,
    country="ES",
    language="es",
    traits={"patience": 0.2, "accessibility": ["low_vision"]},
)
PARTICIPANT = example(
    Participant,
    alias="t-1f3",
    status="completed",
    outcome="gave_up",
    person_name="Ana Ruiz",
    interaction_count=2,
    max_interactions=20,
    extended_from=T2,
    branched_at=1,
    instruction="Switch to German.",
)


def summary(**counts: int) -> dict[str, Any]:
    return example(
        StudySummary,
        study_id=S1,
        alias="s-b2c",
        name="Buy a lamp",
        participant_count=sum(counts.values()),
        outcomes={"gave_up": counts.get("completed", 0)},
        **{f"{status}_count": count for status, count in counts.items()},
    )


def interaction(index: int, participant: str, thought: str) -> dict[str, Any]:
    return example(
        Interaction,
        index=index,
        participant_id=participant,
        observation={"url": f"http://shop/{index}", "title": f"Page {index}"},
        thought=thought,
        action={"kind": "follow", "target": "link 'Lamps'"},
        result={"url": "http://shop/x", "title": "x", "status": 200, "problem": ""},
    )


class Asked(NamedTuple):
    method: str
    path: str
    query: str
    body: Any


class FakeApi:
    """Answers in the order given, per path; the last answer of a path stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        self.asked: list[Asked] = []
        #: Paths that are heard and not answered.
        self.unanswered = ""
        self.heard_unanswered = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                # A stack that another test starts may look for its own API at this very port, for a moment.
                if url.path != "/readyz" or url.path in server.answers:
                    server.asked.append(Asked(self.command, url.path, url.query, body))
                while server.unanswered and server.unanswered in url.path:
                    server.heard_unanswered.set()
                    time.sleep(0.02)
                status, content = server.next_answer(url.path)
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

            def handle(self) -> None:
                # A client goes away after Ctrl-C.
                with suppress(ConnectionError):
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def give(self, path: str, *answers: Any, status: int = 200) -> None:
        self.answers.setdefault(path, []).extend(
            (status, answer if isinstance(answer, bytes) else json.dumps(answer).encode()) for answer in answers
        )

    def give_run(self, answer: Any) -> None:
        """Answers for the request of `understudy run`: a new study with the run `answer`."""
        self.give("/v1/studies", STUDY | {"run": answer}, status=201)

    def next_answer(self, path: str) -> tuple[int, bytes]:
        answers = self.answers.get(path, [(404, json.dumps(error_body("not_found")).encode())])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    @property
    def bodies(self) -> list[Any]:
        return [asked.body for asked in self.asked]

    def close(self) -> None:
        self.unanswered = ""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
