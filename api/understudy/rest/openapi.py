"""Completes /openapi.json with facts that models and routes cannot declare.

These are rules between fields, the pattern of ids, and this server's bounds and plug-ins. This module only
describes them; other modules check them.
"""

import json
from collections.abc import Sequence
from itertools import combinations

from fastapi import FastAPI

from understudy.admission.schemas import Schema, bounds, content_schemas, mind_names
from understudy.domain.cancellation import SCOPES
from understudy.settings import Settings

#: A UUID or an alias.
_ID = r"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[a-z]{1,2}-[0-9a-f]{3,32})$"


def install_openapi(app: FastAPI, settings: Settings) -> None:
    """Makes `app` publish its completed description."""
    describe = app.openapi
    field_bounds = bounds(settings)

    def completed() -> Schema:
        if app.openapi_schema is None:
            document = describe()
            _complete_fields(document, field_bounds)
            _complete_rules(document["components"]["schemas"])
            _complete_document(document)
        return app.openapi_schema or {}

    app.openapi = completed  # type: ignore[method-assign]


#: Tag of the routes -> what they are about.
_TAGS = {
    "health": "State of the process; no token.",
    "study": "Studies and their iterations.",
    "dispatch": "Operations that start participants.",
    "ask": "Questions about texts, in rounds.",
    "person": "People: reusable profiles.",
    "participant": "Participants, their interactions, transcripts and journeys.",
    "simulation": "Cancel and wait.",
    "docs": "The documentation.",
    "webhook": "Receivers of the workspace's events, and the log of their deliveries.",
    "events": "Server-sent events.",
}


def _complete_document(document: Schema) -> None:
    """Adds what generators and validators look for in the whole document."""
    document["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    document["servers"] = [{"url": "/", "description": "This server."}]
    document["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    for path in ("/healthz", "/readyz"):
        document["paths"][path]["get"]["security"] = []
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    for name in [name for name in schemas if f'"#/components/schemas/{name}"' not in text]:
        del schemas[name]


def _complete_fields(document: Schema, field_bounds: dict[str, Schema]) -> None:
    requests = [schema for name, schema in document["components"]["schemas"].items() if name.endswith(_REQUESTS)]
    for schema in requests:
        for name, field in schema.get("properties", {}).items():
            value = _value(field)
            value |= field_bounds.get(name, {})
            _describe_id(name, value)
            _describe_id(name.removesuffix("s"), value.get("items", {}))
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                _describe_id(parameter["name"], _value(parameter["schema"]))


#: Suffixes of the names of request models.
_REQUESTS = ("Request", "Options")


def _value(field: Schema) -> Schema:
    """Returns the schema of a field when it is not null."""
    return next((option for option in field.get("anyOf", ()) if option.get("type") != "null"), field)


def _describe_id(name: str, value: Schema) -> None:
    if name.endswith("_id") and value.get("type") == "string":
        value.pop("maxLength", None)
        value["pattern"] = _ID


def _complete_rules(schemas: dict[str, Schema]) -> None:
    # Under `not`, because generators of clients make a model of each alternative of `oneOf` and `anyOf`.
    round_alone = _given("round") | {"properties": _given("round")["properties"] | {"ask_id": {"type": "null"}}}
    schemas["CancelRequest"]["not"] = {"anyOf": [*_none_or_two(SCOPES), round_alone]}
    for run in (schemas["StudyRunRequest"], schemas["RunRequest"], schemas["AskRunRequest"]):
        run["not"] = {"anyOf": _none_or_two(("person_ids", "sample"))}
    sufficient = tuple(name for name in schemas["SuccessRequest"]["properties"] if name != "text_absent")
    schemas["SuccessRequest"]["not"] = _none_or_two(sufficient)[0]
    schemas["AskRunRequest"]["properties"]["mind"] |= mind_names()
    iteration = schemas["IterationRequest"]["properties"]
    iteration["mind"] |= mind_names()
    iteration["content"] = _content(schemas, iteration["content"])


def _content(schemas: dict[str, Schema], field: Schema) -> Schema:
    """Returns the schema of `content`, with one alternative per environment; adds these to `schemas`."""
    mapping = {}
    for environment, schema in content_schemas().items():
        schemas |= schema.pop("$defs", {})
        name = schema.get("title") or f"{environment.title()}Content"
        schemas[name] = schema
        mapping[environment] = f"#/components/schemas/{name}"
    return {
        "description": field["description"],
        "examples": field["examples"],
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "environment", "mapping": mapping},
    }


def _none_or_two(names: Sequence[str]) -> list[Schema]:
    """Returns the schemas of what is not allowed where exactly one of these fields must be given."""
    none = {"properties": {name: {"type": "null"} for name in names}}
    return [none, *(_given(*pair) for pair in combinations(names, 2))]


def _given(*names: str) -> Schema:
    """Returns a schema of objects that have these fields, and not null."""
    return {"required": list(names), "properties": {name: {"not": {"type": "null"}} for name in names}}
