"""Ids of another workspace in every operation, and paths and headers that name another route."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx

from tests.attack.attack import Answer, Attack
from tests.attack.target import Target, statuses
from tests.contract.test_isolation import answer_without, own_aliases
from understudy.operations.operation import KINDS, Operation
from understudy.operations.registry import OPERATIONS

_LISTS = {"person_ids": "person", "participant_ids": "participant"}
#: Arguments that a list of people replaces.
_SAMPLE = {"sample", "seed"}
#: Operations for which a participant must still be active.
_ON_ACTIVE = {"simulation_cancel", "participant_cancel"}


def places(operation: Operation) -> Iterator[tuple[str, str]]:
    """Yields each argument of an operation that takes an id, and the kind of its object."""
    for name in (*operation.path_parameters, *operation.fields):
        if name in KINDS or name in _LISTS:
            kind = _LISTS.get(name) or name.removesuffix("_id")
            yield name, "active" if kind == "participant" and operation.name in _ON_ACTIVE else kind


def call(target: Target, operation: Operation, id_: str = "", at: str = "", **options: Any) -> httpx.Response:
    """Calls an operation with its example, and with this id in one place; other ids in the path are the attacker's."""
    names = {name for name, _ in places(operation)}
    arguments = {name: value for name, value in operation.example.items() if name not in names}
    if at in _LISTS:
        arguments = {name: value for name, value in arguments.items() if name not in _SAMPLE}
    if at and at not in operation.path_parameters:
        arguments[at] = [id_] if at in _LISTS else id_

    def of_path(found: re.Match[str]) -> str:
        name = found[1]
        return id_ if name == at else str(getattr(target.mine, name.removesuffix("_id"), "concepts/overview"))

    path = re.sub(r"\{(\w+)(?::path)?\}", of_path, operation.path)
    sent = {"json" if operation.has_body else "params": arguments}
    return target.request(operation.method, path, **sent, **options)


def _foreign_ids(target: Target) -> Iterator[Answer]:
    # Two workspaces can have an alias in common by chance.
    own = own_aliases(target.acme, target.mine)
    for operation in OPERATIONS.values():
        for name, kind in places(operation):
            unknown = str(uuid4())
            expected = answer_without(call(target, operation, unknown, name), unknown)
            for id_ in {getattr(target.theirs, kind), target.their_aliases[kind]} - own:
                answer = call(target, operation, id_, name)
                holds = answer.status_code == 404 and answer_without(answer, id_) == expected
                came = f"{answer.status_code} {answer.text[:60]}"
                yield Answer(f"{operation.name} {name}={id_}", came, holds)


def _paths(target: Target) -> Iterator[Answer]:
    person, study = target.theirs.person, target.theirs.study
    mine = target.mine.study
    templates = (
        *(f"/v1/studies/{mine}/../../people/{person}", f"/v1/studies/{mine}/..%2f..%2fpeople%2f{person}"),
        *(f"/v1/studies/{mine}%2f..%2f{study}", f"/v1/studies/..;/people/{person}", f"/v1/studies/%252e%252e/{study}"),
        *(
            f"/v1/studies/{study}%00",
            f"/v1/studies/{study}%20",
            f"/v1/studies/{study}/.",
            f"/v1/studies/{study.upper()}",
        ),
        *(f"/v1/studies/{{{study}}}", f"/v1/studies/urn:uuid:{study}", f"/v1/studies/{study.replace('-', '')}"),
        *(f"/v1/studies/{mine},{study}", f"/v1/studies/{mine}?study_id={study}", f"/v1/studies/{mine}%3f{study}"),
        *(f"//v1/studies/{study}", f"/v1/./studies/{study}", f"/V1/studies/{study}", f"/v1/studies\\{study}"),
        *("/v1/docs/../../../etc/passwd", "/v1/docs/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/v1/docs//etc/passwd"),
        *("/v1/docs/..%2f..%2f..%2fetc%2fpasswd", "/v1/docs/concepts/../../../README", "/v1/docs/%2fetc%2fpasswd"),
        *("/static-offline-docs/..%2f..%2f..%2fapp.py", "/static-offline-docs/../../etc/passwd", "/../../etc/passwd"),
        *("/v1/docs/....//....//etc/passwd", "/v1/docs/C:%5cwindows%5cwin.ini", "/v1/docs/concepts/overview%00.md"),
    )
    shown = (person, study, "root:", "import ")
    for path in templates:
        # As it is: clients would resolve the dots.
        received = target.send(target.head(f"GET {path} HTTP/1.1", "Connection: close"))
        body = received.partition(b"\r\n\r\n")[2].decode(errors="replace")
        told = [text for text in shown if text in body and text not in path and text.upper() not in path]
        came = statuses(received)
        yield Answer(f"GET {path}", f"{came} {body[:60]}", came in ([400], [404], [405], [422]) and not told)


_OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method")
_REROUTES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Original-URI")


def _overrides(target: Target) -> Iterator[Answer]:
    """The token may delete: only the method keeps the object."""
    path = f"/v1/webhooks/{target.mine.webhook}"
    for name in _OVERRIDES:
        for method in ("DELETE", "POST", "TRACE"):
            answer = target.request("GET", path, headers={name: method})
            yield Answer(f"GET {path} {name}: {method}", f"{answer.status_code}", answer.status_code == 200)
        answer = target.request("POST", path, headers={name: "DELETE"}, json={"_method": "DELETE"})
        yield Answer(f"POST {path} {name}: DELETE", f"{answer.status_code}", answer.status_code == 405)
        answer = target.request("GET", path, params={name: "DELETE"})
        yield Answer(f"GET {path}?{name}=DELETE", f"{answer.status_code}", answer.status_code == 422)
    for name in _REROUTES:
        answer = target.request("GET", path, headers={name: f"/v1/webhooks/{target.theirs.webhook}"})
        holds = answer.status_code == 200 and answer.json()["id"] == target.mine.webhook
        yield Answer(f"GET {path} {name}: another's", f"{answer.status_code}", holds)
        answer = target.stranger("GET", "/healthz", headers={name: "/v1/people"})
        yield Answer(f"GET /healthz {name}: /v1/people", answer.text[:40], "items" not in answer.text)


ATTACKS = [
    Attack("id of another workspace", "404, as for an unknown id", _foreign_ids),
    Attack("path traversal", "400, 404, 405 or 422; no file and no other object", _paths),
    Attack("method or path in a header", "the method and path of the request line count", _overrides),
]
