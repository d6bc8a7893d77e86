"""The tools over MCP: what is listed, what is answered, how errors read. Contract sections 5, 6, 7 and 9.

The client holds every answer against the output schema that is listed.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import Tool

from tests.contract.manual_worker import counts, dump_tables, participant, run_steps, run_to_end
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.mcp_client import PROTOCOL_MODES, answer, call, refusal, run_with_client
from understudy.domain.lifecycle import Status
from understudy.mcp.registry import TOOLS
from understudy.mcp.schemas import output_schema
from understudy.service import studies
from understudy.settings import Settings
from understudy.store.engine import Store

MIB = 1024 * 1024
WEB = {"environment": "web", "url": "https://shop.example/"}
ADA = {"name": "Ada", "age": 36, "country": "GB", "language": "en"}
TASK = {"task": "Buy a mug"}

#: For rules that no store has a part in.
one_store = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
both_eras = pytest.mark.parametrize("era", PROTOCOL_MODES)

READ = {"readOnlyHint": True}
WRITE = {"readOnlyHint": False, "destructiveHint": False}
#: Tool -> hints and tags, as the contract has them.
DOCUMENTED = {
    "study_create": (WRITE, {"study", "write"}),
    "study_add_iteration": (WRITE, {"study", "write"}),
    "study_run": (WRITE, {"dispatch", "study"}),
    "study_get": (READ, {"study", "read"}),
    "ask_run": (WRITE, {"ask", "dispatch"}),
    "ask_round": (WRITE, {"ask", "dispatch"}),
    "ask_get": (READ, {"ask", "read"}),
    "person_create": (WRITE, {"person", "write"}),
    "person_get": (READ, {"person", "read"}),
    "participant_get": (READ, {"participant", "read"}),
    "simulation_cancel": (WRITE | {"idempotentHint": True}, {"simulation", "write"}),
    "simulation_extend": (WRITE, {"dispatch", "simulation"}),
    "simulation_wait": (READ, {"simulation", "read"}),
    "docs_get": (READ, {"docs", "read"}),
}
RUN_RESPONSE = {"study_run", "ask_run", "ask_round", "simulation_extend", "simulation_wait"}


def tools_of(caller: ApiClient, era: str = "legacy") -> dict[str, Tool]:
    async def scene(client: Client) -> dict[str, Tool]:
        return {tool.name: tool for tool in (await client.list_tools()).tools}

    return run_with_client(caller, scene, era)


def make_ended(store: Store, caller: ApiClient, count: int = 1) -> list[UUID]:
    """Terminal participants of one study, two interactions each."""
    study, (iteration,) = make_study(store, caller.workspace_id)
    ids = make_participants(store, caller.workspace_id, study, iteration, count, max_interactions=20)
    for id_ in ids:
        run_to_end(store, id_, 2)
    return ids


# -- what is listed ----------------------------------------------------------------------------------------


@one_store
@both_eras
def test_every_tool_is_listed_with_its_hints_tags_and_words(acme: ApiClient, era: str) -> None:
    listed = tools_of(acme, era)
    assert set(listed) == set(DOCUMENTED)
    for name, (hints, tags) in DOCUMENTED.items():
        tool = listed[name]
        assert tool.annotations is not None
        assert tool.annotations.model_dump(by_alias=True, exclude_none=True) == hints, name
        assert tool.meta is not None
        assert set(tool.meta["tags"]) == tags, name
        assert tool.meta["tier"] in {"read-only", "write", "long-running"}
        assert tool.title
        assert len(tool.description or "") > 100, name


@one_store
@both_eras
def test_all_schemas_are_objects_that_any_validator_takes(acme: ApiClient, era: str) -> None:
    for name, tool in tools_of(acme, era).items():
        for schema in (tool.input_schema, tool.output_schema):
            assert schema is not None
            assert schema["type"] == "object", name
            Draft202012Validator.check_schema(schema)
        # Not every model's host follows references.
        assert "$ref" not in json.dumps(tool.input_schema), name
        assert tool.input_schema["additionalProperties"] is False, name
        for field, told in fields_of(tool.input_schema):
            assert told.get("description") or field in OBVIOUS, (name, field)


OBVIOUS = {"name", "age", "country", "language", "bio", "assignment"}


def fields_of(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from fields_of(field)
        yield from fields_of(field.get("items", {}))


@one_store
def test_exactly_one_scope_and_all_bounds_are_in_the_schema_and_in_words(
    acme: ApiClient, api_with: Callable[..., str]
) -> None:
    listed = tools_of(acme)
    takes = Draft202012Validator(listed["simulation_cancel"].input_schema).is_valid
    assert takes({"study_id": "s-b2c"})
    assert takes({"ask_id": "a-77e", "round": 1})
    for wrong in (
        {},
        {"study_id": "s-b2c", "ask_id": "a-77e"},
        {"round": 1},
        {"study_id": "s-b2c", "round": 1},
        {"study": "s-b2c"},
    ):
        assert not takes(wrong), wrong
    assert "exactly one" in (listed["simulation_cancel"].description or "")
    acme.api = api_with(max_additional_steps=7, max_wait_s=90, max_participants_per_run=12)
    narrow = tools_of(acme)
    for tools, steps, timeout, people in ((listed, 100, 3600, 10_000), (narrow, 7, 90, 12)):
        extend = tools["simulation_extend"].input_schema["properties"]
        run = tools["study_run"].input_schema["properties"]
        assert f"From 1 to {steps}." in extend["additional_steps"]["description"]
        assert f"at most {timeout:,}." in extend["timeout"]["description"]
        assert extend["timeout"]["default"] <= timeout
        assert f"From 1 to {people:,}." in run["sample"]["description"]
        assert (extend["additional_steps"]["maximum"], run["sample"]["maximum"]) == (steps, people)
        assert (extend["timeout"]["maximum"], run["person_ids"]["maxItems"]) == (timeout, people)


def test_what_one_may_leave_out_is_left_out_of_required() -> None:
    """An answer without what need not be there fits, one without what is always there does not."""
    schemas = {tool.name: output_schema(tool.answer) for tool in TOOLS}
    fits = Draft202012Validator(schemas["simulation_wait"]).is_valid
    failure = {"error_kind": "x", "error_code": "x", "error": "x", "retryable": False, "suggestions": []}
    assert fits(failure | {"ok": False})
    assert not fits(failure)
    assert not fits(failure | {"ok": True})
    assert not fits({"ok": False})
    assert fits({"ok": True, "dispatch": {"participant_ids": []}, "participants": []})


@one_store
@both_eras
def test_the_server_says_what_it_is_and_when_to_use_which_tool(acme: ApiClient, era: str) -> None:
    async def scene(client: Client) -> tuple[str, str]:
        return client.server_info.name, client.instructions or ""

    name, instructions = run_with_client(acme, scene, era)
    assert name == "understudy"
    for word in (*RUN_RESPONSE, "study_create", "person_create", "next_action", "never", "instruction"):
        assert word in instructions, word


# -- what is answered --------------------------------------------------------------------------------------


@both_eras
def test_a_study_from_its_people_to_its_results(store: Store, acme: ApiClient, era: str) -> None:
    people = answer(acme, "person_create", era, generate=3, seed=7)["items"]
    ada = answer(acme, "person_create", era, **ADA)
    both = answer(acme, "person_create", era, people=[ADA, ADA | {"name": "Bea"}])["items"]
    assert [one["name"] for one in (ada, *both)] == ["Ada", "Ada", "Bea"]
    assert answer(acme, "person_get", era, person_id=ada["alias"]) == ada
    listed = answer(acme, "person_get", era, limit=2)
    assert len(listed["items"]) == 2
    rest = answer(acme, "person_get", era, cursor=listed["next_cursor"], limit=500)
    assert {one["id"] for one in people} <= {one["id"] for one in rest["items"]}

    study = answer(
        acme,
        "study_create",
        era,
        name="Mugs",
        modality="interactive",
        assignment=TASK | {"success": {"url_contains": "/order/"}},
        iteration={"content": WEB},
    )
    second = answer(acme, "study_add_iteration", era, study_id=study["alias"], content=WEB, max_interactions=3)
    assert second["label"] == "B"
    chosen = [one["id"] for one in people[:2]]
    run = answer(acme, "study_run", era, study_id=study["id"], person_ids=chosen)
    assert run["ok"] is True
    assert run["dispatch"]["iteration_id"] == second["id"]
    assert run["dispatch"]["max_interactions"] == 3
    assert run["next_action"]["tool"] == "simulation_wait"
    ids = run["dispatch"]["participant_ids"]
    for id_ in ids:
        run_to_end(store, UUID(id_), 2)
    done = answer(acme, run["next_action"]["tool"], era, **run["next_action"]["arguments"])
    assert (done["ok"], {one["status"] for one in done["participants"]}) == (True, {"completed"})
    assert "next_action" not in done

    summary = answer(acme, "study_get", era, study_id=study["id"])
    assert (summary["participant_count"], summary["completed_count"], summary["partial"]) == (2, 2, False)


@both_eras
def test_an_ask_from_its_first_round_to_its_results(store: Store, acme: ApiClient, era: str) -> None:
    run = answer(acme, "ask_run", era, question="Which one?", variants=["A mug.", "The mug."], sample=2)
    ask = run["dispatch"]["ask_id"]
    assert (run["ok"], run["dispatch"]["round"]) == (True, 1)
    again = answer(acme, "ask_round", era, ask_id=ask, variants=["Mugs!"], wait=True, timeout=0.05)
    assert (again["error_kind"], again["dispatch"]["round"]) == ("wait_timeout", 2)
    for id_ in (*run["dispatch"]["participant_ids"], *again["dispatch"]["participant_ids"]):
        run_to_end(store, UUID(id_), 1, "failed")
    assert answer(acme, again["next_action"]["tool"], era, **again["next_action"]["arguments"])["ok"] is True
    for arguments, path in (
        ({}, "/v1/asks"),
        ({"ask_id": ask}, f"/v1/asks/{ask}"),
        (
            {"ask_id": ask, "view": "per_participant", "limit": 1},
            f"/v1/asks/{ask}?view=per_participant&limit=1",
        ),
        ({"ask_id": ask, "view": "full"}, f"/v1/asks/{ask}?view=full"),
    ):
        assert answer(acme, "ask_get", era, **arguments) == acme.http.get(path).json(), path
    second = answer(acme, "participant_get", era, ask_id=ask, round=2)["items"]
    assert {one["id"] for one in second} == set(again["dispatch"]["participant_ids"])
    for _ in range(3):
        assert answer(acme, "ask_round", era, ask_id=ask)["ok"] is True
    sixth = answer(acme, "ask_round", era, ask_id=ask)
    assert (sixth["ok"], sixth["error_kind"]) == (False, "validation_error")


@both_eras
def test_what_is_read_is_what_rest_gives(store: Store, acme: ApiClient, era: str) -> None:
    first, _ = make_ended(store, acme, 2)
    study = participant(store, first)["study_id"]
    one = str(first)
    same: list[tuple[str, dict[str, Any], str]] = [
        ("study_get", {"study_id": str(study)}, f"/v1/studies/{study}?view=summary"),
        ("study_get", {"study_id": str(study), "view": "full"}, f"/v1/studies/{study}?view=full"),
        ("study_get", {}, "/v1/studies"),
        ("study_get", {"limit": 1}, "/v1/studies?limit=1"),
        ("person_get", {"limit": 3}, "/v1/people?limit=3"),
        (
            "participant_get",
            {"participant_id": one, "view": "interactions", "own": True, "limit": 1},
            f"/v1/participants/{one}/interactions?own=true&limit=1",
        ),
        (
            "participant_get",
            {"participant_id": one, "view": "interactions"},
            f"/v1/participants/{one}/interactions",
        ),
        (
            "participant_get",
            {"participant_id": one, "view": "transcript"},
            f"/v1/participants/{one}/transcript",
        ),
    ]
    for tool, arguments, path in same:
        assert answer(acme, tool, era, **arguments) == acme.http.get(path).json(), (tool, arguments)
    aging = [
        ("participant_get", {"participant_id": one}, f"/v1/participants/{one}"),
        ("participant_get", {"status": "completed"}, "/v1/participants?status=completed"),
        (
            "participant_get",
            {"study_id": str(study), "limit": 1},
            f"/v1/participants?study_id={study}&limit=1",
        ),
        (
            "study_get",
            {"study_id": str(study), "view": "per_participant"},
            f"/v1/studies/{study}?view=per_participant",
        ),
        (
            "study_get",
            {"study_id": str(study), "view": "transcripts", "limit": 1},
            f"/v1/studies/{study}?view=transcripts&limit=1",
        ),
    ]
    for tool, arguments, path in aging:
        assert ageless(answer(acme, tool, era, **arguments)) == ageless(acme.http.get(path).json()), path
    assert answer(acme, "participant_get", era, status="running")["items"] == []


def ageless(value: Any) -> Any:
    if isinstance(value, list):
        return [ageless(one) for one in value]
    if isinstance(value, dict):
        return {name: ageless(one) for name, one in value.items() if name != "age_seconds"}
    return value


def test_the_text_of_a_result_is_its_structure(acme: ApiClient) -> None:
    result = call(acme, "person_get", limit=1)
    (content,) = result.content
    assert json.loads(content.text) == result.structured_content


def test_a_cancel_answers_the_documented_envelope(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    active, ended = make_participants(store, acme.workspace_id, study, iteration, 2)
    run_steps(store, active, 1)
    run_to_end(store, ended, 1)
    assert answer(acme, "simulation_cancel", study_id=str(study)) == {
        "cancelled": [{"participant_id": str(active), "success": True, "status": "cancelled"}],
        "skipped": [{"participant_id": str(ended), "reason": "already_terminal"}],
        "summary": {"total": 2, "cancelled_count": 1, "skipped_count": 1},
    }
    assert participant(store, active)["status"] == Status.CANCELLED
    ask, _ = make_ask(store, acme.workspace_id)
    of_round = answer(acme, "simulation_cancel", ask_id=str(ask), round=2, study_id=None)
    assert of_round["summary"]["cancelled_count"] == 2


@both_eras
def test_an_extend_branches_and_its_wait_that_runs_out_is_taken_up_again(
    store: Store, acme: ApiClient, era: str
) -> None:
    (source,) = make_ended(store, acme)
    waited = answer(
        acme,
        "simulation_extend",
        era,
        participant_id=str(source),
        additional_steps=5,
        instruction="Switch to the German picker.",
        wait=True,
        timeout=0.05,
    )
    assert (waited["ok"], waited["error_kind"], waited["retryable"]) == (False, "wait_timeout", False)
    assert waited["progress"] == {"done": 0, "total": 1}
    assert waited["dispatch"]["extended_from"] == str(source)
    assert (waited["dispatch"]["inherited_interactions"], waited["dispatch"]["max_interactions"]) == (2, 25)
    (child,) = waited["dispatch"]["participant_ids"]
    run_to_end(store, UUID(child), 1)
    action = waited["next_action"]
    assert answer(acme, action["tool"], era, **action["arguments"])["ok"] is True
    said = answer(acme, "participant_get", era, participant_id=child, view="transcript")["items"]
    assert "Switch to the German picker." in {item["content"] for item in said}


def test_a_call_repeated_with_its_key_is_done_once_whatever_the_door(store: Store, acme: ApiClient) -> None:
    (source,) = make_ended(store, acme)
    study = str(participant(store, source)["study_id"])
    run = {"study_id": study, "sample": 2, "idempotency_key": "k"}
    first, again = (answer(acme, "study_run", **run)["dispatch"] for _ in range(2))
    posted = acme.http.post(f"/v1/studies/{study}/run", json={"sample": 2}, headers={"Idempotency-Key": "k"})
    assert first == again == posted.json()["dispatch"]
    other = answer(acme, "study_run", **run | {"sample": 1})
    assert (other["ok"], other["error_code"]) == (False, "conflict")
    extend = {"participant_id": str(source), "additional_steps": 3}
    child = answer(acme, "simulation_extend", **extend, idempotency_key="k")["dispatch"]
    posted = acme.http.post("/v1/simulations/extend", json=extend, headers={"Idempotency-Key": "k"})
    assert posted.json()["dispatch"] == child
    assert counts(store)["participant"] == 4
    question = {"question": "Which?", "variants": ["A mug.", "The mug."], "sample": 1, "seed": 3}
    asked = answer(acme, "ask_run", **question, idempotency_key="k")["dispatch"]
    posted = acme.http.post("/v1/asks", json=question, headers={"Idempotency-Key": "k"})
    assert posted.json()["dispatch"] == asked
    path = f"/v1/asks/{asked['ask_id']}/rounds"
    again = answer(acme, "ask_round", ask_id=asked["ask_id"], idempotency_key="k")["dispatch"]
    posted = acme.http.post(path, headers={"Idempotency-Key": "k"})
    assert posted.json()["dispatch"] == again


# -- resources ---------------------------------------------------------------------------------------------


@both_eras
def test_a_transcript_is_a_resource(store: Store, acme: ApiClient, rival: ApiClient, era: str) -> None:
    (id_,) = make_ended(store, acme)

    async def scene(client: Client) -> list[Any]:
        templates = (await client.list_resource_templates()).resource_templates
        (template,) = (one for one in templates if one.name == "transcript")
        uri = template.uri_template.format(participant_id=id_)
        (content,) = (await client.read_resource(uri)).contents
        assert content.mime_type == "application/json"
        return list(json.loads(content.text)["items"])

    assert run_with_client(acme, scene, era) == acme.get(f"/v1/participants/{id_}/transcript").json()["items"]
    for who, uri in (
        (rival, f"understudy://participants/{id_}/transcript"),
        (acme, f"understudy://participants/{uuid4()}/transcript"),
        (acme, "understudy://nothing/here"),
        (acme, "understudy://docs/concepts/nothing"),
        (acme, "file:///etc/passwd"),
    ):

        async def read(client: Client, uri: str = uri) -> None:
            await client.read_resource(uri)

        with pytest.raises(MCPError, match=r"^\[not_found\]"):
            run_with_client(who, read, era)


@one_store
@both_eras
def test_a_page_of_the_docs_is_a_resource_and_what_docs_get_gives(acme: ApiClient, era: str) -> None:
    async def scene(client: Client) -> dict[str, str]:
        read = {}
        for resource in (await client.list_resources()).resources:
            assert (resource.mime_type, bool(resource.title)) == ("text/markdown", True)
            (content,) = (await client.read_resource(resource.uri)).contents
            read[resource.uri.removeprefix("understudy://docs/")] = content.text
        return read

    pages = run_with_client(acme, scene, era)
    listed = answer(acme, "docs_get", era)
    assert listed == acme.get("/v1/docs").json()
    assert set(pages) == {entry["slug"] for entry in listed["items"]}
    for slug in ("concepts/extending-a-simulation", "reference/long-running-jobs"):
        page = answer(acme, "docs_get", era, slug=slug)
        assert page == acme.get(f"/v1/docs/{slug}").json()
        assert page["content"] == pages[slug]
    assert refusal(acme, "docs_get", era, slug="concepts/nothing").startswith("[not_found] ")


# -- errors ------------------------------------------------------------------------------------------------


BAD: list[tuple[str, dict[str, Any]]] = [
    ("study_create", {}),
    ("study_create", {"name": "S", "modality": "interactive", "assignment": {"task": ""}}),
    ("study_create", {"name": "S", "modality": "silent", "assignment": TASK}),
    ("study_create", {"name": "S", "modality": "interactive", "assignment": TASK, "surplus": 1}),
    (
        "study_create",
        {"name": "S", "modality": "chat", "assignment": TASK, "iteration": {"content": WEB}},
    ),
    ("study_add_iteration", {"study_id": "<study>", "content": {"environment": "moon"}}),
    ("study_add_iteration", {"study_id": "<study>", "content": WEB, "max_interactions": 0}),
    ("study_add_iteration", {"content": WEB}),
    ("study_run", {"study_id": "<study>"}),
    ("study_run", {"study_id": "<study>", "sample": 1, "person_ids": ["tp-abc"]}),
    ("study_run", {"study_id": "<study>", "sample": 7.0}),
    ("study_run", {"study_id": "<study>", "sample": True}),
    ("study_run", {"study_id": "<study>", "sample": "1"}),
    ("study_run", {"study_id": "<study>", "sample": 5}),
    ("study_run", {"study_id": "<study>", "sample": 1, "timeout": 0}),
    ("study_run", {"study_id": "<study>", "sample": 1, "timeout": 3601}),
    ("study_run", {"study_id": "<study>", "sample": 1, "wait": "yes"}),
    ("study_run", {"study_id": "<study>", "sample": 1, "idempotency_key": ""}),
    ("study_run", {"study_id": "<study>", "sample": 1, "idempotency_key": "k" * 256}),
    ("study_run", {"study_id": "t-abc", "sample": 1}),
    ("study_get", {"view": "full"}),
    ("study_get", {"study_id": "<study>", "view": "everything"}),
    ("study_get", {"study_id": "<study>", "limit": 5}),
    ("study_get", {"limit": 501}),
    ("study_get", {"cursor": "nonsense"}),
    ("ask_run", {"question": "Which?", "variants": ["A"]}),
    ("ask_run", {"question": "Which?", "variants": [], "sample": 1}),
    ("ask_run", {"question": "Which?", "variants": [" "], "sample": 1}),
    ("ask_run", {"question": "Which?", "variants": ["A"], "sample": 99}),
    ("ask_round", {}),
    ("ask_round", {"ask_id": "s-abc"}),
    ("ask_get", {"view": "full"}),
    ("ask_get", {"ask_id": "<ask>", "limit": 5}),
    ("ask_get", {"ask_id": "a-abc", "view": "transcripts"}),
    ("person_create", {}),
    ("person_create", ADA | {"age": -1}),
    ("person_create", ADA | {"generate": 1}),
    ("person_create", {"people": []}),
    ("person_create", {"generate": 10_001}),
    ("person_create", ADA | {"bio": "a\0b"}),
    ("person_get", {"person_id": "tp-abc", "cursor": "x"}),
    ("person_get", {"limit": 0}),
    ("participant_get", {"view": "transcript"}),
    ("participant_get", {"participant_id": "<ended>", "study_id": "<study>"}),
    ("participant_get", {"participant_id": "<ended>", "view": "transcript", "limit": 5}),
    ("participant_get", {"status": "asleep"}),
    ("participant_get", {"round": 1}),
    ("participant_get", {"ask_id": "a-abc", "round": 0}),
    ("participant_get", {"study_id": "<study>", "ask_id": "a-abc"}),
    ("simulation_cancel", {}),
    ("simulation_cancel", {"participant_id": "<ended>", "study_id": "<study>"}),
    ("simulation_cancel", {"study_id": "<study>", "round": 1}),
    ("simulation_cancel", {"participant_id": "s-abc"}),
    ("simulation_cancel", {"participant_id": 7}),
    ("simulation_extend", {"participant_id": "<ended>", "additional_steps": 0}),
    ("simulation_extend", {"participant_id": "<ended>", "additional_steps": 101}),
    ("simulation_extend", {"participant_id": "<ended>", "additional_steps": 7.5}),
    ("simulation_extend", {"participant_id": "<ended>", "instruction": "x" * 4_001}),
    ("simulation_extend", {"participant_id": "<ended>", "instruction": "\0"}),
    ("simulation_extend", {"participant_id": "<active>"}),
    ("simulation_extend", {}),
    ("docs_get", {"slug": "../secrets"}),
    ("docs_get", {"slug": "concepts/overview", "limit": 1}),
    ("simulation_wait", {"participant_ids": []}),
    ("simulation_wait", {"participant_ids": ["<ended>"], "timeout": -1}),
    ("simulation_wait", {"participant_ids": ["s-abc"]}),
    ("simulation_wait", {"participant_ids": "<ended>"}),
]


@both_eras
def test_whatever_is_wrong_is_told_in_words_and_changes_nothing(store: Store, acme: ApiClient, era: str) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    ended, active = make_participants(store, acme.workspace_id, study, iteration, 2)
    run_to_end(store, ended, 1)
    run_steps(store, active, 1)
    ask, _ = make_ask(store, acme.workspace_id)
    words = {"<ask>": str(ask), "<study>": str(study), "<ended>": str(ended), "<active>": str(active)}

    def meant(value: Any) -> Any:
        if isinstance(value, list):
            return [meant(one) for one in value]
        return words.get(value, value) if isinstance(value, str) else value

    before = dump_tables(store)

    async def scene(client: Client) -> None:
        for tool, arguments in BAD:
            result = await client.call_tool(tool, {name: meant(one) for name, one in arguments.items()})
            here = (tool, str(arguments)[:200])
            if tool in RUN_RESPONSE:
                assert not result.is_error, here
                body = result.structured_content
                assert (body["ok"], body["error_kind"], body["error_code"]) == (
                    False,
                    *["validation_error"] * 2,
                ), here
                assert "dispatch" not in body
                told = body["error"]
            else:
                assert result.is_error, here
                told = result.content[0].text
                assert told.startswith("[validation_error] "), here
            assert 5 < len(told) < 1_500, here
            assert "Traceback" not in told

    run_with_client(acme, scene, era)
    assert dump_tables(store) == before


def test_an_error_has_the_words_that_rest_has(store: Store, acme: ApiClient) -> None:
    (source,) = make_ended(store, acme)
    for tool, arguments, path in (
        ("simulation_cancel", {"round": 1.0, "surplus": 1}, "/v1/simulations/cancel"),
        ("simulation_cancel", {"participant_id": "t-0abc"}, "/v1/simulations/cancel"),
        ("person_create", ADA | {"age": "36"}, "/v1/people"),
        ("person_create", {"people": [ADA, {"name": "Bea"}]}, "/v1/people"),
        (
            "study_create",
            {"name": "", "modality": "x", "assignment": {"task": "t", "success": {}}},
            "/v1/studies",
        ),
    ):
        body = acme.post(path, arguments).json()
        text = refusal(acme, tool, **arguments)
        assert text == "\n".join((f"[{body['error_code']}] {body['error']}", *body["suggestions"]))
    for arguments in ({"additional_steps": 101}, {"timeout": 9_999.5}, {"surplus": 1, "wait": 1}):
        body = {"participant_id": str(source)} | arguments
        assert answer(acme, "simulation_extend", **body) == acme.post("/v1/simulations/extend", body).json()


@both_eras
def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(acme: ApiClient, era: str) -> None:
    with pytest.raises(MCPError, match=r"No such tool: 'study_delete'. Call one of: study_create"):
        call(acme, "study_delete", era)


def test_what_breaks_inside_is_told_without_its_insides(acme: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
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
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": "<arguments>", "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(body).replace('"<arguments>"', arguments)


@one_store
def test_json_that_no_store_keeps_is_told_as_a_bad_argument(store: Store, acme: ApiClient) -> None:
    assert post(acme, message(json.dumps(ADA))).json()["result"]["isError"] is False
    before = dump_tables(store)
    for value in (r'"\u0000"', r'"\ud800"', "1e400", "9" * 40, '{"a": 1, "a": 2}', "[" * 70 + "]" * 70):
        sent = post(acme, message(json.dumps(ADA | {"traits": {"a": "<v>"}}).replace('"<v>"', value)))
        assert sent.status_code == 200, value
        result = sent.json()["result"]
        assert result["isError"] is True
        assert result["content"][0]["text"].startswith("[validation_error] "), value
    assert dump_tables(store) == before


@one_store
def test_what_is_no_json_or_too_large_is_refused_at_the_gate(store: Store, acme: ApiClient) -> None:
    before = dump_tables(store)
    for body in ("", "{", "nope", '{"a": NaN}', "\xff"):
        assert (post(acme, body).status_code, post(acme, body).json()["error_code"]) == (
            400,
            "validation_error",
        )
    assert post(acme, "[" * 100_000).status_code in {400, 422}
    assert post(acme, "[]").status_code == 400
    large = json.dumps(ADA | {"bio": "x" * MIB})
    assert "bio" in post(acme, message(large)).json()["result"]["content"][0]["text"]
    other = post(acme, message(json.dumps({"study_id": "x" * MIB}), "study_get"), **{"Mcp-Name": "study_get"})
    assert "over the limit of 1 MiB" in other.json()["result"]["content"][0]["text"]
    assert post(acme, b" " * (17 * MIB)).status_code == 413
    assert dump_tables(store) == before


@one_store
def test_a_settings_bound_holds_though_the_schema_was_not_read(
    store: Store, acme: ApiClient, settings: Settings
) -> None:
    (source,) = make_ended(store, acme)
    most = settings.max_additional_steps
    body = answer(acme, "simulation_extend", participant_id=str(source), additional_steps=most + 1)
    assert f"from 1 to {most}" in body["error"]
