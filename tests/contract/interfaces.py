"""The four doors to the service, each asked the same: REST, the Python client, the command line, MCP."""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from typer.testing import CliRunner

from tests import mcp_client
from tests.http_client import ApiClient
from understudy.cli import app
from understudy.client import Understudy
from understudy.domain.errors import ERROR_RULES, UnderstudyError
from understudy.envelopes.simulations import RunFailure

Json = dict[str, Any]

#: Tool -> its route over REST; of a get, that of the list, then that of one.
ROUTES: dict[str, tuple[str, ...]] = {
    "study_create": ("POST /v1/studies",),
    "study_add_iteration": ("POST /v1/studies/{study_id}/iterations",),
    "study_run": ("POST /v1/studies/{study_id}/run",),
    "study_get": ("GET /v1/studies", "GET /v1/studies/{study_id}"),
    "ask_run": ("POST /v1/asks",),
    "ask_round": ("POST /v1/asks/{ask_id}/rounds",),
    "ask_get": ("GET /v1/asks", "GET /v1/asks/{ask_id}"),
    "person_create": ("POST /v1/people",),
    "person_get": ("GET /v1/people", "GET /v1/people/{person_id}"),
    "participant_get": ("GET /v1/participants", "GET /v1/participants/{participant_id}"),
    "simulation_cancel": ("POST /v1/simulations/cancel",),
    "simulation_extend": ("POST /v1/simulations/extend",),
    "simulation_wait": ("POST /v1/simulations/wait",),
    "docs_get": ("GET /v1/docs", "GET /v1/docs/{slug}"),
}


class CallResult(NamedTuple):
    """What came through a door: an envelope, or an error."""

    envelope: Any
    #: Code, message and suggestions of an error; of a RunStudyResponse they are in the envelope.
    error: tuple[str, str, tuple[str, ...]] | None


def call_rest(caller: ApiClient, tool: str, arguments: Json) -> CallResult:
    """By plain HTTP. The status must be that of the code."""
    fields = dict(arguments)
    headers = {"Idempotency-Key": fields.pop("idempotency_key")} if "idempotency_key" in fields else {}
    # A list has a route of its own; so has each way to look at one participant.
    route = next(one for one in reversed(ROUTES[tool]) if set(re.findall(r"\{(\w+)\}", one)) <= fields.keys())
    method, _, path = route.partition(" ")
    path = re.sub(r"\{(\w+)\}", lambda match: str(fields.pop(match[1])), path)
    if tool == "participant_get" and fields.get("view") in {"interactions", "transcript", "journey"}:
        path += f"/{fields['view']}"
    if tool == "participant_get":
        fields.pop("view", None)
    if method == "GET":
        response = caller.http.get(path, params={name: _in_query(value) for name, value in fields.items()})
    else:
        response = caller.http.post(path, json=fields, headers=headers)
    body = response.json()
    if "error_code" in body:
        assert response.status_code == ERROR_RULES[body["error_code"]].http_status
    return _told(body) if not response.is_success else CallResult(body, None)


def call_client(caller: ApiClient, tool: str, arguments: Json) -> CallResult:
    """By the Python client; its models must say what the server said."""
    said: list[bytes] = []
    with Understudy(caller.api, caller.secret, on_answer=said.append, wire=_wire()) as client:
        try:
            answer = _method(client, tool, arguments)()
        except UnderstudyError as error:
            return CallResult(None, (error.code, str(error), error.suggestions))
    body = json.loads(said[-1])
    assert answer.model_dump(mode="json") == body
    return _told(body) if isinstance(answer, RunFailure) else CallResult(body, None)


def call_cli(caller: ApiClient, command: tuple[str, ...]) -> CallResult:
    """By the command line with --json; its exit code must be that of the code."""
    options = ("--json", "--server", caller.api, "--token", caller.secret)
    result = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)
    body = json.loads(result.stdout or result.stderr)
    expected = ERROR_RULES[body["error_code"]].exit_code if "error_code" in body else 0
    assert result.exit_code == expected, result.stderr
    return _told(body) if expected else CallResult(body, None)


def call_mcp(caller: ApiClient, tool: str, arguments: Json) -> CallResult:
    """By the official MCP client."""
    result = mcp_client.call(caller, tool, **arguments)
    if not result.is_error:
        return _told(result.structured_content)
    (content,) = result.content
    first, *suggestions = str(content.text).split("\n")
    match = re.fullmatch(r"\[(\w+)\] (.*)", first)
    assert match, first
    return CallResult(None, (match[1], match[2], tuple(suggestions)))


def _told(body: Any) -> CallResult:
    """An answer, or the error that its body tells; a RunStudyResponse is an answer whatever it says."""
    if isinstance(body, dict) and "error_code" in body and "ok" not in body:
        assert body["retryable"] is ERROR_RULES[body["error_code"]].retryable
        return CallResult(None, (body["error_code"], body["error"], tuple(body["suggestions"])))
    return CallResult(body, None)


def _wire() -> httpx.HTTPTransport:
    # Reading the certificates takes longer than most calls, and nothing here is https.
    return httpx.HTTPTransport(verify=False)


def _in_query(value: Any) -> Any:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else value


def _method(client: Understudy, tool: str, arguments: Json) -> Callable[[], Any]:
    """The client's call for a tool: some tools are several methods."""
    fields = dict(arguments)
    if tool == "person_create" and "name" in fields:
        return lambda: client.person_create(fields)
    if tool == "participant_get" and "participant_id" in fields:
        view = fields.pop("view", "participant")
        name = "participant_get" if view == "participant" else f"participant_{view}"
        return lambda: getattr(client, name)(**fields)
    one = {"study_get": "study_id", "ask_get": "ask_id", "person_get": "person_id", "docs_get": "slug"}
    if tool == "participant_get" or (tool in one and one[tool] not in fields):
        return lambda: getattr(client, tool.replace("_get", "_list"))(**fields)
    return lambda: getattr(client, tool)(**fields)


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ALIAS = re.compile(r"\b(w|s|i|a|t|tp)-[0-9a-f]{3,32}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_WAITED = re.compile(r"After [\d.]+ s")


def masked(value: Any, names: dict[str, str]) -> Any:
    """The same without what differs between two workspaces of like content.

    Ids become what they name, by `names`, which learns those that it does not know in order of appearance.
    """
    if isinstance(value, dict):
        return {name: _masked_field(name, one, names) for name, one in sorted(value.items())}
    if isinstance(value, list):
        return [masked(one, names) for one in value]
    if isinstance(value, str):
        value = _UUID.sub(lambda match: names.setdefault(match[0], f"<{len(names)}>"), value)
        value = _ALIAS.sub(lambda match: f"{match[1]}-…", value)
        return _WAITED.sub("After … s", _TIME.sub("<time>", value))
    return value


def _masked_field(name: str, value: Any, names: dict[str, str]) -> Any:
    if name == "next_cursor":
        return value and "<cursor>"
    return "<seconds>" if name == "age_seconds" else masked(value, names)


def names_of(known: dict[str, UUID]) -> dict[str, str]:
    """What the ids of a workspace are called."""
    return {str(id_): f"<{name}>" for name, id_ in known.items()}
