"""MCP alone: the listed tools, resources, raw messages. Contract sections 5, 6, 7 and 9.

test_parity compares the envelopes and errors of all tools with those of REST. The client validates every result
against the listed output schema.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import Tool

from tests.contract.interfaces import rest
from tests.contract.manual_worker import counts, dump_tables, run_to_end
from tests.contract.parity_table import ADA, COMPLETE, LAMPS, WEB, filled, make_objects
from tests.http_client import ApiClient
from tests.mcp_client import answer, call, refusal, run_with_client
from tests.parameters import both_eras, one_store
from understudy.mcp.schemas import output_schema
from understudy.operations.tools import TOOLS
from understudy.service import studies
from understudy.store.engine import Store

MIB = 1024 * 1024


READ = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
WRITE = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": False}
VISITS = {"openWorldHint": True}
#: Tool -> its hints and tags in the contract.
DOCUMENTED = {
    "study_create": (WRITE | VISITS, {"study", "write"}),
    "study_add_iteration": (WRITE, {"study", "write"}),
    "study_run": (WRITE | VISITS, {"dispatch", "study"}),
    "study_get": (READ, {"study", "read"}),
    "ask_run": (WRITE, {"ask", "dispatch"}),
    "ask_round": (WRITE, {"ask", "dispatch"}),
    "ask_get": (READ, {"ask", "read"}),
    "person_create": (WRITE, {"person", "write"}),
    "person_get": (READ, {"person", "read"}),
    "participant_get": (READ, {"participant", "read"}),
    "simulation_cancel": (WRITE | {"idempotentHint": True}, {"simulation", "write"}),
    "simulation_extend": (WRITE | VISITS, {"dispatch", "simulation"}),
    "simulation_wait": (READ, {"simulation", "read"}),
    "docs_get": (READ, {"docs", "read"}),
}
RUN_RESPONSE = {"study_run", "ask_run", "ask_round", "simulation_extend", "simulation_wait"}


def tools_of(caller: ApiClient, era: str = "legacy") -> dict[str, Tool]:
    async def scene(client: Client) -> dict[str, Tool]:
        return {tool.name: tool for tool in (await client.list_tools()).tools}

    return run_with_client(caller, scene, era)


# -- what is listed ----------------------------------------------------------------------------------------


@one_store
@both_eras
def test_every_tool_is_listed_with_its_documented_hints_and_tags(acme: ApiClient, era: str) -> None:
    listed = tools_of(acme, era)
    hints = {name: tool.annotations.model_dump(by_alias=True, exclude_none=True) for name, tool in listed.items()}
    assert {name: (hints[name], set(tool.meta["tags"])) for name, tool in listed.items()} == DOCUMENTED
    assert {tool.meta["tier"] for tool in listed.values()} == {"read-only", "write", "long-running"}
    assert [name for name, tool in listed.items() if not tool.title or len(tool.description) <= 100] == []


@one_store
@both_eras
def test_all_schemas_are_self_contained_objects_with_descriptions(acme: ApiClient, era: str) -> None:
    listed = tools_of(acme, era)
    inputs = {name: tool.input_schema for name, tool in listed.items()}
    schemas = [*inputs.values(), *(tool.output_schema for tool in listed.values())]
    assert {schema["type"] for schema in schemas} == {"object"}
    for schema in schemas:
        Draft202012Validator.check_schema(schema)
    # Some hosts of models do not follow references.
    assert [name for name, schema in inputs.items() if "$ref" in json.dumps(schema)] == []
    assert [name for name, schema in inputs.items() if schema.keys() - {"type", "properties", "required"}] == []
    closed = r'"additionalProperties": (true|false)'
    assert [name for name, schema in inputs.items() if re.search(closed, json.dumps(schema))] == []
    undescribed = {
        name for schema in inputs.values() for name, field in fields_of(schema) if "description" not in field
    }
    assert undescribed <= {"name", "age", "country", "language", "bio", "assignment"}


def fields_of(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from fields_of(field)
        yield from fields_of(field.get("items", {}))


@one_store
@both_eras
def test_the_list_of_tools_is_small(acme: ApiClient, era: str) -> None:
    listed = [tool.model_dump_json(by_alias=True, exclude_none=True) for tool in tools_of(acme, era).values()]
    assert sum(map(len, listed)) < 40_000


@one_store
def test_an_argument_that_a_host_fills_in_counts_as_not_given(acme: ApiClient) -> None:
    study = answer(acme, "study_create", **LAMPS | {"modality": "", "questions": None})["id"]
    scope = {"study_id": study, "participant_id": "", "iteration_id": "", "ask_id": None, "round": None}
    assert answer(acme, "simulation_cancel", **scope)["summary"]["total"] == 0
    assert answer(acme, "study_get", study_id="", view="", cursor="")["items"][0]["id"] == study
    assert "name" in refusal(acme, "study_create", **LAMPS | {"name": ""})


@one_store
@pytest.mark.parametrize(
    ("changes", "steps", "timeout", "people"),
    [
        ({}, 100, 3600, 10_000),
        ({"max_additional_steps": 7, "max_wait_s": 90, "max_participants_per_run": 12}, 7, 90, 12),
    ],
    ids=["default", "narrow"],
)
def test_bounds_of_the_settings_are_in_the_schemas_and_their_descriptions(
    acme: ApiClient, api_with: Callable[..., str], changes: dict[str, int], steps: int, timeout: int, people: int
) -> None:
    acme.api = api_with(**changes)
    tools = tools_of(acme)
    extend = tools["simulation_extend"].input_schema["properties"]
    run = tools["study_run"].input_schema["properties"]
    assert f"From 1 to {steps}." in extend["additional_steps"]["description"]
    assert f"at most {timeout:,}." in extend["timeout"]["description"]
    assert extend["timeout"]["default"] <= timeout
    assert f"From 1 to {people:,}." in run["sample"]["description"]
    assert f"At most {people:,}." in run["person_ids"]["description"]


def test_an_output_schema_has_the_fields_of_all_answers() -> None:
    schemas = {tool.name: output_schema(tool) for tool in TOOLS}
    assert {*RUN_RESPONSE} <= schemas.keys()
    failure = {"ok", "error_kind", "error_code", "error", "retryable", "suggestions", "dispatch", "next_action"}
    assert failure <= schemas["simulation_wait"]["properties"].keys()
    assert schemas["simulation_wait"]["required"] == ["ok"]
    assert {"items", "iterations", "transcripts", "participants"} <= schemas["study_get"]["properties"].keys()


@one_store
@both_eras
def test_the_server_describes_itself_and_its_tools(acme: ApiClient, era: str) -> None:
    async def scene(client: Client) -> tuple[str, str]:
        return client.server_info.name, client.instructions or ""

    name, instructions = run_with_client(acme, scene, era)
    assert name == "understudy"
    words = {"person_create", "study_create", "study_run", "ask_run", "study_get", "simulation_cancel"}
    words |= {"simulation_extend", "next_action", "Never start again to wait"}
    assert {word for word in words if word in instructions[:512]} == words


# -- what is answered --------------------------------------------------------------------------------------


@both_eras
def test_a_study_from_its_people_to_its_results(store: Store, acme: ApiClient, era: str) -> None:
    people = answer(acme, "person_create", era, generate=3, seed=7)["items"]
    study = answer(acme, "study_create", era, **COMPLETE["study_create"])
    second = answer(acme, "study_add_iteration", era, study_id=study["alias"], content=WEB, max_interactions=3)
    run = answer(acme, "study_run", era, study_id=study["id"], person_ids=[one["id"] for one in people[:2]])
    assert (run["ok"], run["dispatch"]["iteration_id"], run["dispatch"]["max_interactions"]) == (True, second["id"], 3)
    for id_ in run["dispatch"]["participant_ids"]:
        run_to_end(store, UUID(id_), 2)
    done = answer(acme, run["next_action"]["tool"], era, **run["next_action"]["arguments"])
    assert (done["ok"], [one["status"] for one in done["participants"]]) == (True, ["completed"] * 2)
    assert "next_action" not in done
    summary = answer(acme, "study_get", era, study_id=study["id"])
    assert (summary["participant_count"], summary["completed_count"], summary["partial"]) == (2, 2, False)


@both_eras
def test_a_wait_that_times_out_continues_with_its_next_action(store: Store, acme: ApiClient, era: str) -> None:
    run = answer(acme, "ask_run", era, question="Which one?", variants=["A mug.", "The mug."], sample=2)
    again = answer(acme, "ask_round", era, ask_id=run["dispatch"]["ask_id"], wait=True, timeout=0.05)
    assert (again["error_kind"], again["dispatch"]["round"]) == ("wait_timeout", 2)
    assert again["progress"] == {"done": 0, "total": 2}
    for id_ in again["dispatch"]["participant_ids"]:
        run_to_end(store, UUID(id_), 1, "failed")
    assert answer(acme, again["next_action"]["tool"], era, **again["next_action"]["arguments"])["ok"] is True


@one_store
def test_the_text_of_a_result_is_its_structure(acme: ApiClient) -> None:
    result = call(acme, "person_get", limit=1)
    (content,) = result.content
    assert json.loads(content.text) == result.structured_content


@pytest.mark.parametrize("tool", ["study_run", "simulation_extend", "ask_run", "ask_round"])
def test_a_call_repeated_with_its_key_over_mcp_and_rest_is_done_once(store: Store, acme: ApiClient, tool: str) -> None:
    arguments = filled(COMPLETE[tool], make_objects(store, acme.workspace_id)) | {"idempotency_key": "k"}
    first = answer(acme, tool, **arguments)
    before = counts(store)
    again = answer(acme, tool, **arguments)
    with rest(acme) as call_rest:
        posted = call_rest(tool, arguments).envelope
    assert first["dispatch"] == again["dispatch"] == posted["dispatch"]
    assert counts(store) == before


# -- resources ---------------------------------------------------------------------------------------------


@both_eras
def test_a_transcript_is_a_resource(store: Store, acme: ApiClient, rival: ApiClient, era: str) -> None:
    id_ = make_objects(store, acme.workspace_id)["done"]

    async def scene(client: Client) -> list[Any]:
        templates = (await client.list_resource_templates()).resource_templates
        (template,) = (one for one in templates if one.name == "transcript")
        uri = template.uri_template.format(participant_id=id_)
        (content,) = (await client.read_resource(uri)).contents
        assert content.mime_type == "application/json"
        return list(json.loads(content.text)["items"])

    assert run_with_client(acme, scene, era) == acme.get(f"/v1/participants/{id_}/transcript").json()["items"]

    async def errors(client: Client) -> list[str]:
        uris = ("participants/{}/transcript", "nothing/here", "docs/concepts/nothing")
        reads = (client.read_resource(f"understudy://{uri.format(id_)}") for uri in uris)
        results = await asyncio.gather(*reads, client.read_resource("file:///etc/passwd"), return_exceptions=True)
        return [str(result).partition(" ")[0] for result in results if isinstance(result, MCPError)]

    assert run_with_client(rival, errors, era) == ["[not_found]"] * 4


@one_store
@both_eras
def test_every_page_of_the_docs_is_a_resource(acme: ApiClient, era: str) -> None:
    async def scene(client: Client) -> dict[str, str]:
        resources = (await client.list_resources()).resources
        assert [one for one in resources if not one.title or one.mime_type != "text/markdown"] == []
        return {
            one.uri.removeprefix("understudy://docs/"): (await client.read_resource(one.uri)).contents[0].text
            for one in resources
        }

    slugs = [entry["slug"] for entry in acme.get("/v1/docs").json()["items"]]
    assert run_with_client(acme, scene, era) == {slug: acme.get(f"/v1/docs/{slug}").json()["content"] for slug in slugs}


# -- errors ------------------------------------------------------------------------------------------------


@one_store
@both_eras
def test_an_unknown_tool_is_an_error_of_the_protocol(acme: ApiClient, era: str) -> None:
    with pytest.raises(MCPError, match=r"No such tool: 'study_delete'. Call one of: study_create"):
        call(acme, "study_delete", era)


@one_store
def test_an_unexpected_exception_is_a_server_error_without_its_message(
    acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret is 7")

    monkeypatch.setattr(studies, "list_studies", breaks)
    text = refusal(acme, "study_get")
    assert text.startswith("[server_error] ")
    assert "secret" not in text


# -- what no client of the SDK would send ------------------------------------------------------------------


def post(caller: ApiClient, body: bytes | str, **headers: str) -> httpx.Response:
    """A message as it is, of the revision that knows no sessions."""
    usual = {
        "Authorization": f"Bearer {caller.secret}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "person_create",
    }
    return httpx.post(
        f"{caller.api}/mcp", content=body, headers=usual | headers, trust_env=False, verify=False, timeout=30
    )


def message(arguments: str, tool: str = "person_create") -> str:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"name": tool, "arguments": "<arguments>", "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(body).replace('"<arguments>"', arguments)


@one_store
@pytest.mark.parametrize(
    "value", [r'"\u0000"', r'"\ud800"', "1e400", "9" * 40, '{"a": 1, "a": 2}', "[" * 70 + "]" * 70]
)
def test_json_that_no_store_keeps_is_a_bad_argument(store: Store, acme: ApiClient, value: str) -> None:
    before = dump_tables(store)
    sent = post(acme, message(json.dumps(ADA | {"traits": {"a": "<v>"}}).replace('"<v>"', value)))
    assert (sent.status_code, sent.json()["result"]["isError"]) == (200, True)
    assert sent.json()["result"]["content"][0]["text"].startswith("[validation_error] ")
    assert dump_tables(store) == before
    assert post(acme, message(json.dumps(ADA))).json()["result"]["isError"] is False


@one_store
def test_a_message_that_is_no_json_or_too_large_is_refused(store: Store, acme: ApiClient) -> None:
    before = dump_tables(store)
    bodies = ("", "{", "nope", '{"a": NaN}', "\xff")
    refusals = {body: post(acme, body) for body in bodies}
    assert {body: (one.status_code, one.json()["error"]["code"]) for body, one in refusals.items()} == dict.fromkeys(
        bodies, (400, -32700)
    )
    assert post(acme, "[" * 100_000).status_code in {400, 422}
    assert post(acme, "[]").status_code == 400
    large = json.dumps(ADA | {"bio": "x" * MIB})
    assert "bio" in post(acme, message(large)).json()["result"]["content"][0]["text"]
    other = post(acme, message(json.dumps({"study_id": "x" * MIB}), "study_get"), **{"Mcp-Name": "study_get"})
    assert "over the limit of 1 MiB" in other.json()["result"]["content"][0]["text"]
    assert post(acme, b" " * (17 * MIB)).status_code == 413
    assert dump_tables(store) == before
