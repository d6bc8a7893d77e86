"""The published schemas are those of the code, and keep what callers were promised."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import schemas
from tests.contract.compatibility import Schema, api_changes, broken_request, response_changes
from tests.schemas import FOLDER, PROMISED, answers, as_text, broken, current, promised, routes

HINT = "`make schemas` writes docs/schemas anew"


def test_the_published_schemas_are_those_of_the_code() -> None:
    written = {path.stem: path.read_text() for path in FOLDER.glob("*.json")}
    current_text = {name: as_text(schema) for name, schema in answers().items()}
    assert written.keys() == current_text.keys(), HINT
    assert {name for name, schema in current_text.items() if written[name] != schema} == set(), HINT


def test_what_was_promised_is_kept() -> None:
    assert promised(), f"{PROMISED} is empty"
    assert not broken(promised(), current())


def test_the_tool_never_overwrites_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = routes()
    more["paths"]["/v1/gone"] = {"get": {"responses": {}}}
    (tmp_path / "openapi.json").write_text(as_text(more))
    monkeypatch.setattr(schemas, "PROMISED", tmp_path)
    assert schemas.main(["--promise"]) == 1
    assert "GET /v1/gone is gone" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"openapi.json": as_text(more)}


def test_the_api_answers_with_the_published_schemas() -> None:
    """Each model in an answer of a route is published, or a part of a published one, and looks the same."""
    published = {}
    for name, answer in answers().items():
        schema = json.loads(json.dumps(answer).replace("#/$defs/", "#/components/schemas/"))
        published |= schema.pop("$defs", {})
        schema.pop("$schema")
        published[schema.get("title", name)] = schema
    document = routes()
    components = document["components"]["schemas"]
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    seen: set[str] = set()
    found = referenced(*(operation["responses"] for operation in operations))
    while found - seen:
        seen |= found
        found = referenced(*(components[name] for name in seen))
    assert {"CancelEnvelope", "RunSuccess", "RunFailure", "ErrorBody", "AskFull"} <= seen
    # Only operators read whether the server is well.
    answered = {name: components[name] for name in seen - {"Alive", "Ready"}}
    assert answered == {name: published.get(schema["title"]) for name, schema in answered.items()}


def referenced(*schemas: Any) -> set[str]:
    """The names of all models that these refer to."""
    return set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schemas)))


#: Answers about the state of the server; no client reads them.
# -- compatibility.py --------------------------------------------------------------------------------------

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
    """A schema with another value at that path, whose parts `|` separates; None: without it."""
    schema = copy.deepcopy(of)
    *above, last = path.split("|")
    place = schema
    for name in above:
        place = place[int(name) if isinstance(place, list) else name]
    place[last] = value
    if value is None:
        del place[last]
    return schema


NOT_NULL, NULL = {"type": "integer"}, {"type": "null"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties|age", None),
        ("properties|age|type", "string"),
        ("properties|age|type", "number"),
        ("properties|age", {"anyOf": [NOT_NULL, NULL]}),
        ("properties|mood", {"anyOf": [{"type": "number"}, {"type": "string"}, NULL]}),
        ("properties|mood", {"anyOf": [{"type": "string"}, NULL]}),
        ("properties|id|format", None),
        ("properties|status|enum", ["well"]),
        ("properties|status|enum", ["well", "ill", "dead"]),
        ("properties|status|enum", None),
        ("properties|pets", {"$ref": "#/$defs/Pet"}),
        ("properties|pets|items", {"type": "string"}),
        ("$defs|Pet|properties|name", None),
        ("$defs|Pet|properties|name|type", "integer"),
        ("$defs|Pet|required", []),
        ("properties|counts|additionalProperties|type", "number"),
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
        ("properties|id|title", "Identifier"),
        ("properties|age|description", "In years."),
        ("properties|age|default", 7),
        ("properties|height", {"type": "number"}),
        ("$defs|Pet|properties|age", {"type": "integer"}),
        ("required", ["id", "age", "mood", "pets", "status"]),
        ("properties|age|minimum", 0),
        ("properties|pets|items", PERSON["$defs"]["Pet"]),
    ],
)
def test_an_answer_with_more_fields_or_other_words_breaks_none(path: str, value: Any) -> None:
    assert not response_changes(PERSON, changed(path, value))


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
        ("properties|name|maxLength", 8, True),
        ("properties|name|maxLength", 10, False),
        ("properties|name|minLength", 2, True),
        ("properties|name|pattern", "a", True),
        ("properties|name|type", "integer", True),
        ("properties|kind|enum", ["a"], True),
        ("properties|kind|enum", ["a", "b", "c"], False),
        ("properties|seed", {"type": "integer", "minimum": 0}, True),
        ("properties|seed", None, True),
        ("properties|more", {"type": "string"}, False),
    ],
)
def test_a_request_that_was_fine_stays_fine(path: str, value: Any, breaks: bool) -> None:
    assert bool(broken_request(REQUEST, changed(path, value, REQUEST))) is breaks


@pytest.fixture(scope="module")
def document() -> Schema:
    return routes()


@pytest.mark.parametrize(
    "path",
    [
        "paths|/v1/people|get|parameters",
        "paths|/v1/simulations/cancel|post|responses|200",
        "paths|/v1/simulations/cancel|post|requestBody",
        "components|schemas|StudySummary|properties|partial",
        "components|schemas|CancelRequest|properties|ask_id",
    ],
)
def test_a_part_of_a_route_that_is_gone_breaks_a_promise(document: Schema, path: str) -> None:
    assert api_changes(document, changed(path, None, document))


def test_routes_and_required_parameters_stay_and_words_may_change(document: Schema) -> None:
    without_people = changed("paths|/v1/people", None, document)
    assert sorted(api_changes(document, without_people)) == ["GET /v1/people is gone", "POST /v1/people is gone"]
    assert api_changes(document, changed("paths|/v1/people|get|parameters|0|required", True, document))
    assert not api_changes(document, changed("components|schemas|StudySummary|description", None, document))
    assert not api_changes(document, document)
