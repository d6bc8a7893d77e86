"""The published schemas are those of the code, and keep what callers were promised."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests import schemas
from tests.contract.compatibility import Schema, api_changes, broken_request, response_changes
from tests.schemas import ANSWERS, FOLDER, PROMISED, answers, as_text, broken, current, promised, routes

HINT = "`make schemas` writes docs/schemas anew"


def test_the_published_schemas_are_those_of_the_code() -> None:
    written = {path.stem: path.read_text() for path in FOLDER.glob("*.json")}
    assert written.keys() == ANSWERS.keys(), HINT
    for name, schema in answers().items():
        assert written[name] == as_text(schema), f"{name}: {HINT}"


def test_what_was_promised_is_kept() -> None:
    assert promised(), f"{PROMISED} is empty"
    assert not broken(promised(), current())


def test_a_promise_is_never_overwritten_by_the_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = routes()
    more["paths"]["/v1/gone"] = {"get": {"responses": {}}}
    (tmp_path / "openapi.json").write_text(as_text(more))
    monkeypatch.setattr(schemas, "PROMISED", tmp_path)
    assert schemas.main(["--promise"]) == 1
    assert "GET /v1/gone is gone" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["openapi.json"]
    assert (tmp_path / "openapi.json").read_text() == as_text(more)


def test_the_api_answers_with_the_published_schemas() -> None:
    """Each model that a route answers with is one that is published, or a part of one, and looks the same."""
    published = {}
    for name, answer in answers().items():
        schema = json.loads(json.dumps(answer).replace("#/$defs/", "#/components/schemas/"))
        published |= schema.pop("$defs", {})
        schema.pop("$schema")
        published[schema.get("title", name)] = schema
    document = routes()
    components = document["components"]["schemas"]
    seen: set[str] = set()

    def visit(value: Any) -> None:
        if isinstance(value, list):
            for one in value:
                visit(one)
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]
            if name and name not in seen:
                seen.add(name)
                visit(components[name])
            for one in value.values():
                visit(one)

    for item in document["paths"].values():
        for operation in item.values():
            visit(operation["responses"])
    assert {"CancelEnvelope", "RunSuccess", "RunFailure", "ErrorBody", "AskFull"} <= seen
    assert {name for name in seen if components[name]["title"] not in published} <= _OF_OPERATORS
    for name in seen - _OF_OPERATORS:
        assert components[name] == published[components[name]["title"]], name


#: What nobody's program reads: whether the server is well.
_OF_OPERATORS = {"Alive", "Ready"}


# -- the check itself --------------------------------------------------------------------------------------

PERSON: Schema = {
    "type": "object",
    "title": "Person",
    "required": ["id", "age", "mood", "pets"],
    "properties": {
        "id": {"type": "string", "format": "uuid", "title": "Id"},
        "age": {"type": "integer"},
        "mood": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "status": {"type": "string", "enum": ["well", "ill"]},
        "pets": {"type": "array", "items": {"$ref": "#/$defs/Pet"}},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "$defs": {"Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
}


def changed(path: str, value: Any, of: Schema = PERSON) -> Schema:
    """A schema with another value at that path; None: without it."""
    schema = copy.deepcopy(of)
    *above, last = path.split("/")
    place = schema
    for name in above:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return schema


NOT_NULL, NULL = {"type": "integer"}, {"type": "null"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties/age", None),
        ("properties/age/type", "string"),
        ("properties/age/type", "number"),
        ("properties/age", {"anyOf": [NOT_NULL, NULL]}),
        ("properties/mood", {"anyOf": [{"type": "number"}, {"type": "string"}, NULL]}),
        ("properties/mood", {"anyOf": [{"type": "string"}, NULL]}),
        ("properties/id/format", None),
        ("properties/status/enum", ["well"]),
        ("properties/status/enum", ["well", "ill", "dead"]),
        ("properties/status/enum", None),
        ("properties/pets", {"$ref": "#/$defs/Pet"}),
        ("properties/pets/items", {"type": "string"}),
        ("$defs/Pet/properties/name", None),
        ("$defs/Pet/properties/name/type", "integer"),
        ("$defs/Pet/required", []),
        ("properties/counts/additionalProperties/type", "number"),
        ("required", ["id", "age", "mood"]),
        ("type", "array"),
    ],
)
def test_an_answer_that_changes_what_is_documented_breaks_a_promise(path: str, value: Any) -> None:
    assert response_changes(PERSON, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("title", "Human"),
        ("properties/id/title", "Identifier"),
        ("properties/age/description", "In years."),
        ("properties/age/default", 7),
        ("properties/height", {"type": "number"}),
        ("$defs/Pet/properties/age", {"type": "integer"}),
        ("required", ["id", "age", "mood", "pets", "status"]),
        ("properties/age/minimum", 0),
        ("properties/pets/items", PERSON["$defs"]["Pet"]),
    ],
)
def test_an_answer_that_says_more_breaks_none(path: str, value: Any) -> None:
    assert not response_changes(PERSON, changed(path, value))
    assert not response_changes(PERSON, PERSON)


REQUEST: Schema = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 9},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "seed": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
    },
    "oneOf": [{"required": ["kind"]}, {"required": ["seed"]}],
}


@pytest.mark.parametrize(
    ("path", "value", "breaks"),
    [
        ("required", ["name", "kind"], True),
        ("required", [], False),
        ("oneOf", [{"required": ["kind"]}], True),
        ("properties/name/maxLength", 8, True),
        ("properties/name/maxLength", 10, False),
        ("properties/name/minLength", 2, True),
        ("properties/name/pattern", "a", True),
        ("properties/name/type", "integer", True),
        ("properties/kind/enum", ["a"], True),
        ("properties/kind/enum", ["a", "b", "c"], False),
        ("properties/seed", {"type": "integer", "minimum": 0}, True),
        ("properties/seed", None, True),
        ("properties/more", {"type": "string"}, False),
    ],
)
def test_a_request_that_was_fine_stays_fine(path: str, value: Any, breaks: bool) -> None:
    assert bool(broken_request(REQUEST, changed(path, value, REQUEST))) is breaks


def test_routes_parameters_and_statuses_stay() -> None:
    document = routes()
    assert not api_changes(document, document)

    def without(*path: str) -> list[str]:
        changed = copy.deepcopy(document)
        place = changed
        for name in path[:-1]:
            place = place[name]
        del place[path[-1]]
        return api_changes(document, changed)

    assert sorted(without("paths", "/v1/people")) == ["GET /v1/people is gone", "POST /v1/people is gone"]
    assert without("paths", "/v1/people", "get", "parameters")
    assert without("paths", "/v1/simulations/cancel", "post", "responses", "200")
    assert without("paths", "/v1/simulations/cancel", "post", "requestBody")
    assert without("components", "schemas", "StudySummary", "properties", "partial")
    assert without("components", "schemas", "CancelRequest", "properties", "ask_id")
    assert not without("components", "schemas", "StudySummary", "description")
    needed = copy.deepcopy(document)
    needed["paths"]["/v1/people"]["get"]["parameters"][0]["required"] = True
    assert api_changes(document, needed)
