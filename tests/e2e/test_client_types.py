"""Both Python clients are typed from end to end, for a program that is checked strictly."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_overloads, get_type_hints

import pydantic
import pytest

import understudy.client
from tests.virtual_environments import run
from understudy.client import AsyncUnderstudy, Understudy

#: Method -> its calls, each with the type of the answer.
CALLS: dict[str, list[tuple[str, str]]] = {
    "study_create": [('"Mugs", assignment={"task": "Buy"}, iteration={}, run={}', "StudyCreated")],
    "study_add_iteration": [('id_, content={"environment": "web"}', "Iteration")],
    "study_run": [("id_, sample=1, wait=True", "RunSuccess | RunFailure")],
    "study_pause": [("id_", "StudyPause")],
    "study_resume": [("id_", "StudyPause")],
    "study_list": [("limit=1", "Page[Study]")],
    "study_list_all": [("", "Iterator[Study]")],
    "study_get": [
        ("id_", "StudySummary"),
        ('id_, "full"', "StudyFull"),
        ('id_, "per_participant", limit=1', "StudyPerParticipant"),
        ('id_, "transcripts"', "StudyTranscripts"),
    ],
    "study_delete": [("id_", "Deleted")],
    "ask_run": [('question="Which?", variants=["a", "b"], sample=1', "RunSuccess | RunFailure")],
    "ask_round": [('id_, variants=["a"]', "RunSuccess | RunFailure")],
    "ask_list": [("", "Page[Ask]")],
    "ask_list_all": [("", "Iterator[Ask]")],
    "ask_get": [("id_", "AskSummary"), ('id_, "full"', "AskFull"), ('id_, "per_participant"', "AskPerParticipant")],
    "ask_delete": [("id_", "Deleted")],
    "person_create": [
        ('{"name": "Ada", "age": 36}', "Person"),
        ("generate=3, seed=1", "People"),
        ('people=[{"name": "Ada"}]', "People"),
        ('csv="name"', "People"),
        ('panel="varied-50"', "People"),
    ],
    "person_list": [('country=["Peru"]', "Page[Person]")],
    "person_list_all": [("", "Iterator[Person]")],
    "person_export": [("", "Panel"), ('None, "csv"', "str")],
    "person_get": [("id_", "Person")],
    "person_delete": [("id_", "Deleted")],
    "participant_list": [("study_id=id_", "Page[Participant]")],
    "participant_list_all": [("", "Iterator[Participant]")],
    "participant_get": [("id_", "Participant")],
    "participant_interactions": [("id_, own=True", "Page[Interaction]")],
    "participant_interactions_all": [("id_", "Iterator[Interaction]")],
    "participant_transcript": [("id_", "Transcript")],
    "participant_journey": [("id_", "Journey")],
    "simulation_cancel": [("study_id=id_", "CancelEnvelope")],
    "simulation_extend": [("id_, additional_steps=5", "RunSuccess | RunFailure")],
    "simulation_wait": [("[id_], timeout=1", "RunSuccess | RunFailure")],
    "docs_list": [("", "Page[DocEntry]")],
    "docs_list_all": [("", "Iterator[DocEntry]")],
    "docs_get": [('"concepts/overview"', "Doc")],
    "webhook_create": [('"https://app.example/", events=["run.finished"]', "WebhookCreated")],
    "webhook_list": [("", "Page[Webhook]")],
    "webhook_list_all": [("", "Iterator[Webhook]")],
    "webhook_get": [("id_", "Webhook")],
    "webhook_delete": [("id_", "WebhookDeleted")],
    "webhook_rotate": [("id_", "WebhookCreated")],
    "webhook_replay": [("id_, delivery_id=id_", "Replayed")],
    "webhook_deliveries": [('id_, status="dead"', "Page[WebhookDelivery]")],
    "webhook_deliveries_all": [("id_", "Iterator[WebhookDelivery]")],
    "event_ticket": [("study_id=id_", "EventTicket")],
    "events": [("study_id=id_", "Generator[Event]")],
    "health": [("", "Ready")],
    "call": [('"GET", "/v1/studies"', "RawResponse")],
}
#: Mistakes of a program; each one is a type error.
MISTAKES = (
    "client.study_create(1, assignment={})",
    'client.study_create("Mugs")',
    "client.study_run(id_, sampel=1)",
    'client.study_get(id_, "ful")',
    'client.study_get(id_, "full", limit=1)',
    "client.person_create(generate=1, panel='varied-50')",
    'client.participant_list(country="Peru")',
    'client.webhook_create("https://app.example/", events=["finished"])',
    "client.simulation_wait(id_=1)",
    "client.participant_interactions(3)",
    "client.studies()",
    "await_(client.study_run(id_)).dispatch.participant_ids",
    "await_(client.participant_get(id_)).statuss",
    "await_(client.study_get(id_)).iterations",
    "error.fields_at_fault",
)
LAZY = ("_all", "events")
ERRORS = """
    try:
        pass
    except (RateLimited, UnderstudyError) as error:
        assert_type(error.code, str)
        assert_type(error.http_status, int)
        assert_type(error.retryable, bool)
        assert_type(error.retry_after_s, float)
"""


def _methods(client: type) -> set[str]:
    found = {name for name, _ in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}
    return found - {"close", "aclose"}


def _program(client: str, call: str, body: str) -> str:
    """Returns a program that mypy checks: `call` begins each coroutine function or function in it."""
    return (
        "from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator\n"
        "from typing import TypeVar, assert_type\n"
        "from understudy.client import *\n"
        f"from understudy.client import {client}\n"
        "T = TypeVar('T')\n"
        "def await_(value: T) -> T: return value\n"
        f"{call} use(client: {client}, id_: str, error: UnderstudyError) -> None:\n{body}"
    )


def _use(asynchronous: bool) -> str:
    lines = []
    for method, calls in CALLS.items():
        for arguments, answer in calls:
            lazy = method.endswith(LAZY)
            call = f"client.{method}({arguments})"
            kind = re.sub(r"^(?=Iterator|Generator)", "Async", answer) if asynchronous else answer
            lines.append(f"    assert_type({'await ' if asynchronous and not lazy else ''}{call}, {kind})\n")
    lines.append("    assert_type(client.server, str)\n")
    return "".join(lines) + ERRORS


def _check(folder: Path, program: str) -> list[int]:
    """Returns the lines of a program in which mypy finds an error."""
    (folder / "program.py").write_text(program)
    (folder / "mypy.ini").write_text("[mypy]\nstrict = True\n")
    output = run("bash", "-c", f"'{sys.executable}' -m mypy program.py || true", cwd=folder)
    assert "program.py" in output or "Success" in output, output
    return sorted({int(line) for line in re.findall(r"^program\.py:(\d+): error", output, re.MULTILINE)})


@pytest.mark.parametrize("client", [Understudy, AsyncUnderstudy])
def test_a_program_that_uses_every_method_passes_strict_checks(tmp_path: Path, client: type) -> None:
    assert _methods(client) == CALLS.keys()
    is_async = client is AsyncUnderstudy
    program = _program(client.__name__, "async def" if is_async else "def", _use(is_async))
    wrong = _check(tmp_path, program)
    assert [program.splitlines()[line - 1] for line in wrong] == []


def test_each_mistake_is_a_type_error(tmp_path: Path) -> None:
    program = _program("Understudy", "def", "".join(f"    {line}\n" for line in MISTAKES))
    lines = program.splitlines()
    wrong = [lines[line - 1].strip() for line in _check(tmp_path, program)]
    assert wrong == list(MISTAKES)


def _models(annotation: Any) -> Iterator[Any]:
    """Yields the classes in an annotation; those of a page and its items both."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        generic = annotation.__pydantic_generic_metadata__
        yield generic["origin"] or annotation
        parts = generic["args"]
    else:
        parts = get_args(annotation)
        if get_origin(annotation) is None or get_origin(annotation) is dict:
            yield get_origin(annotation) or annotation
        assert parts or not isinstance(annotation, UnionType)
    for part in parts:
        yield from _models(part)


@pytest.mark.parametrize("client", [Understudy, AsyncUnderstudy])
def test_every_answer_is_a_public_model(client: type) -> None:
    plain = {str, type(None)}
    public = {getattr(understudy.client, name) for name in understudy.client.__all__}
    hidden = {}
    for name in _methods(client):
        method = getattr(client, name)
        for form in (method, *get_overloads(method)):
            unknown = set(_models(get_type_hints(form)["return"])) - plain - public
            hidden |= {name: unknown} if unknown else {}
    assert hidden == {}
