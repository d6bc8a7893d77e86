"""Completes /openapi.json with facts that models and routes cannot declare.

These are rules between fields, the pattern of ids, and this server's bounds and plug-ins. This module only
describes them; other modules check them.
"""

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
        return app.openapi_schema or {}

    app.openapi = completed  # type: ignore[method-assign]


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
    cancel, success = schemas["CancelRequest"], schemas["SuccessRequest"]
    cancel["oneOf"] = [_only(scope, SCOPES, never=() if scope == "ask_id" else ("round",)) for scope in SCOPES]
    for run in (schemas["StudyRunRequest"], schemas["RunRequest"], schemas["AskRunRequest"]):
        run["oneOf"] = [_only(field, ("person_ids", "sample")) for field in ("person_ids", "sample")]
    success["anyOf"] = [_required(name) for name in success["properties"]]
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


def _required(name: str) -> Schema:
    """Returns a schema that requires this field and forbids null."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _only(name: str, names: tuple[str, ...], never: tuple[str, ...] = ()) -> Schema:
    """Returns a schema that requires this field; the others must be absent or null."""
    schema = _required(name)
    schema["properties"] |= {other: {"type": "null"} for other in (*names, *never) if other != name}
    return schema
