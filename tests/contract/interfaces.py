"""The interfaces of the service, each called in the same way: REST, Python client, command line, MCP.

To add an interface, write a context manager that yields its `Call`, and add it to `INTERFACES`.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from anyio.from_thread import start_blocking_portal
from mcp import Client
from typer.testing import CliRunner

from tests.http_client import ApiClient
from tests.mcp_client import PROTOCOL_MODES, connect, connect_stdio
from understudy.cli import app
from understudy.client import AsyncUnderstudy, Understudy
from understudy.domain.errors import ERROR_RULES, UnderstudyError
from understudy.envelopes.simulations import RunFailure

Json = dict[str, Any]

#: Tool -> its route over REST; of a get, the route of the list, then the route of one object.
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
    """The result of a call: an envelope, or an error."""

    envelope: Any
    #: Code, message and suggestions of an error; a RunStudyResponse has them in the envelope.
    error: tuple[str, str, tuple[str, ...]] | None

    @property
    def code(self) -> str | None:
        return self.error[0] if self.error else (self.envelope or {}).get("error_code")

    @property
    def message(self) -> str:
        return self.error[1] if self.error else (self.envelope or {}).get("error", "")


#: Calls a tool with arguments; None if the interface cannot express them.
Call = Callable[[str, Json], CallResult | None]


@contextmanager
def rest(caller: ApiClient) -> Iterator[Call]:
    """Plain HTTP. The status must be the one of the error code."""

    def call(tool: str, arguments: Json) -> CallResult:
        fields = dict(arguments)
        headers = {"Idempotency-Key": fields.pop("idempotency_key")} if "idempotency_key" in fields else {}
        # A list has its own route; each view of a participant has one, too.
        route = next(one for one in reversed(ROUTES[tool]) if set(re.findall(r"\{(\w+)\}", one)) <= fields.keys())
        method, _, path = route.partition(" ")
        path = re.sub(r"\{(\w+)\}", lambda match: str(fields.pop(match[1])), path)
        if tool == "participant_get" and fields.get("view") in {"participant", "interactions", "transcript", "journey"}:
            view = fields.pop("view")
            path += "" if view == "participant" else f"/{view}"
        if method == "GET":
            response = caller.http.get(path, params={name: _in_query(value) for name, value in fields.items()})
        else:
            response = caller.http.post(path, json=fields, headers=headers)
        body = response.json()
        if "error_code" in body:
            assert response.status_code == ERROR_RULES[body["error_code"]].http_status
        return _result(body) if not response.is_success else CallResult(body, None)

    yield call


@contextmanager
def python_client(caller: ApiClient) -> Iterator[Call]:
    """The Python client; its models must contain exactly what the server sent."""
    bodies: list[bytes] = []
    # Reading the certificates takes longer than most calls, and nothing here is https.
    transport = httpx.HTTPTransport(verify=False)
    with Understudy(caller.api, caller.secret, on_answer=bodies.append, wire=transport) as client:

        def call(tool: str, arguments: Json) -> CallResult | None:
            method, fields = _method(client, tool, arguments)
            return _client_result(method, fields, lambda: method(**fields), bodies)

        yield call


@contextmanager
def async_client(caller: ApiClient) -> Iterator[Call]:
    """The asynchronous Python client, on an event loop of its own."""
    bodies: list[bytes] = []
    transport = httpx.AsyncHTTPTransport(verify=False)
    client = AsyncUnderstudy(caller.api, caller.secret, on_answer=bodies.append, transport=transport)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):

        def call(tool: str, arguments: Json) -> CallResult | None:
            method, fields = _method(client, tool, arguments)
            return _client_result(method, fields, lambda: portal.call(partial(method, **fields)), bodies)

        yield call


def _client_result(
    method: Callable[..., Any], fields: Json, perform: Callable[[], Any], bodies: list[bytes]
) -> CallResult | None:
    try:
        inspect.signature(method).bind(**fields)
    except TypeError:
        return None
    try:
        answer = perform()
    except UnderstudyError as error:
        return CallResult(None, (error.code, str(error), error.suggestions))
    body = json.loads(bodies[-1])
    assert answer.model_dump(mode="json") == body
    return _result(body) if isinstance(answer, RunFailure) else CallResult(body, None)


@contextmanager
def command_line(caller: ApiClient) -> Iterator[Call]:
    """The command line with --json; its exit code must be the one of the error code."""
    options = ("--json", "--server", caller.api, "--token", caller.secret)

    def call(tool: str, arguments: Json) -> CallResult | None:
        if {"age_min", "age_max"} <= arguments.keys():
            arguments = arguments | {"age": f"{arguments['age_min']}..{arguments['age_max']}"}
            arguments = {name: value for name, value in arguments.items() if name not in {"age_min", "age_max"}}
        command = next((one for one in COMMANDS.get(tool, ()) if one.accepts(arguments)), None)
        if command is None:
            return None
        words = [*command.words.split(), *options, *command.parameters(arguments)]
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        body = json.loads(result.stdout or result.stderr)
        is_error = "error_code" in body
        has_failed = tool == "simulation_wait" and any(
            one["status"] == "failed" for one in body.get("participants", ())
        )
        expected = ERROR_RULES[body["error_code"]].exit_code if is_error else int(has_failed)
        assert result.exit_code == expected, result.stderr
        return _result(body) if is_error else CallResult(body, None)

    yield call


@contextmanager
def mcp(caller: ApiClient, connection: Callable[[ApiClient], AbstractAsyncContextManager[Client]]) -> Iterator[Call]:
    """The official MCP client."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(connection(caller)) as client:

        def call(tool: str, arguments: Json) -> CallResult:
            result = portal.call(client.call_tool, tool, arguments)
            if not result.is_error:
                return _result(result.structured_content)
            (content,) = result.content
            first, *suggestions = str(content.text).split("\n")
            match = re.fullmatch(r"\[(\w+)\] (.*)", first)
            assert match, first
            return CallResult(None, (match[1], match[2], tuple(suggestions)))

        yield call


INTERFACES: dict[str, Callable[[ApiClient], AbstractContextManager[Call]]] = {
    "rest": rest,
    "client": python_client,
    "client-async": async_client,
    "cli": command_line,
    **{f"mcp-{era}": partial(mcp, connection=partial(connect, era=era)) for era in PROTOCOL_MODES},
    "mcp-stdio": partial(mcp, connection=connect_stdio),
}


def _result(body: Any) -> CallResult:
    """An envelope, or the error in a body; a RunStudyResponse is always an envelope."""
    if isinstance(body, dict) and "error_code" in body and "ok" not in body:
        assert body["retryable"] is ERROR_RULES[body["error_code"]].retryable
        return CallResult(None, (body["error_code"], body["error"], tuple(body["suggestions"])))
    return CallResult(body, None)


def _in_query(value: Any) -> Any:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else value


def _method(client: Understudy | AsyncUnderstudy, tool: str, arguments: Json) -> tuple[Callable[..., Any], Json]:
    """The client's method for a tool, and its parameters: some tools are several methods."""
    fields = dict(arguments)
    if tool == "person_create" and "name" in fields:
        return client.person_create, {"person": fields}
    if tool == "participant_get" and "participant_id" in fields:
        view = fields.pop("view", "participant")
        return getattr(client, "participant_get" if view == "participant" else f"participant_{view}"), fields
    one = {"study_get": "study_id", "ask_get": "ask_id", "person_get": "person_id", "docs_get": "slug"}
    if tool == "participant_get" or (tool in one and one[tool] not in fields):
        return getattr(client, tool.replace("_get", "_list")), fields
    return getattr(client, tool), fields


class Command(NamedTuple):
    """A command, its positional arguments, and its options: `x=y` if the argument `x` is the option --y."""

    words: str
    positional: str
    options: str

    def accepts(self, arguments: Json) -> bool:
        required = set(self.positional.split())
        return required <= arguments.keys() <= required | self._option_names().keys()

    def parameters(self, arguments: Json) -> list[str]:
        # Without a wait the commands refuse --timeout.
        if "wait" in self._option_names() and not arguments.get("wait"):
            arguments = {name: value for name, value in arguments.items() if name != "timeout"}
        options = [
            f"--{option}" if value is True else f"--{option}={value}"
            for name, option in self._option_names().items()
            for value in _values(arguments.get(name))
        ]
        return [*options, "--", *(value for name in self.positional.split() for value in _values(arguments[name]))]

    def _option_names(self) -> dict[str, str]:
        return {name: option or name for name, _, option in (one.partition("=") for one in self.options.split())}


def _values(value: Any) -> list[Any]:
    """The parameters for one argument: a list is repeated, a mapping is NAME=VALUE, False and None are omitted."""
    if isinstance(value, dict):
        return [f"{name}={one}" for name, one in value.items()]
    if value is None or value is False:
        return []
    return value if isinstance(value, list) else [value if value is True else str(value)]


_PAGE = "limit cursor"
_SCOPES = "study_id=study iteration_id=iteration ask_id=ask round"
_PEOPLE_FILTER = "age country language trait search"
_ROUND = "question variants=variant seed wait timeout"
#: Tool -> its commands; a tool without an entry has none.
COMMANDS: dict[str, list[Command]] = {
    "study_get": [Command("get", "study_id", f"view {_PAGE}"), Command("get", "", _PAGE)],
    "ask_run": [Command("ask", "", f"{_ROUND} sample=people mind")],
    "ask_round": [Command("ask", "", f"ask_id=next {_ROUND}")],
    "ask_get": [Command("get", "ask_id", f"view {_PAGE}")],
    "person_create": [
        Command("people generate", "generate", "seed"),
        Command("people import", "", "panel"),
        Command("people add", "", "name age country language traits=trait bio"),
    ],
    "person_get": [Command("people show", "person_id", ""), Command("people list", "", f"{_PEOPLE_FILTER} {_PAGE}")],
    "participant_get": [
        Command("get", "participant_id", f"view own {_PAGE}"),
        Command("get", "iteration_id", f"status {_PAGE}"),
        Command("get", "", f"status {_PAGE}"),
    ],
    "simulation_cancel": [Command("cancel", "participant_id", _SCOPES), Command("cancel", "", _SCOPES)],
    "simulation_extend": [Command("extend", "participant_id", "additional_steps=steps instruction wait timeout")],
    "simulation_wait": [Command("wait", "participant_ids", "timeout")],
    "docs_get": [Command("docs", "slug", ""), Command("docs", "", "")],
}


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ALIAS = re.compile(r"\b(w|s|i|a|t|tp)-[0-9a-f]{3,32}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_WAITED = re.compile(r"After [\d.]+ s")


def masked(value: Any, names: dict[str, str]) -> Any:
    """The same without what differs between two workspaces of equal content.

    Ids become the names in `names`; an unknown id gets the next number as its name.
    """
    if isinstance(value, dict):
        return {name: _masked_field(name, one, names) for name, one in sorted(value.items())}
    if isinstance(value, list | tuple):
        return type(value)(masked(one, names) for one in value)
    if isinstance(value, str):
        value = _UUID.sub(lambda match: names.setdefault(match[0], f"<{len(names)}>"), value)
        value = _ALIAS.sub(lambda match: f"{match[1]}-…", value)
        return _WAITED.sub("After … s", _TIME.sub("<time>", value))
    return value


def _masked_field(name: str, value: Any, names: dict[str, str]) -> Any:
    if name == "next_cursor":
        return value and "<cursor>"
    return "<seconds>" if name == "age_seconds" else masked(value, names)


def masked_result(result: CallResult, ids: dict[str, UUID]) -> CallResult:
    names = {str(id_): f"<{name}>" for name, id_ in ids.items()}
    return CallResult(masked(result.envelope, names), masked(result.error, names))
