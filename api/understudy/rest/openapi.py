"""/openapi.json: what the models and routes say of themselves, and what they cannot say.

That is: rules between fields, what an id looks like, and what this server has: bounds, plug-ins. It only
describes; the checks are where they always were.
"""

from fastapi import FastAPI

from understudy.admission.schemas import Schema, bounds, complete_iteration_schema, mind_names
from understudy.domain.cancellation import SCOPES
from understudy.settings import Settings

#: A UUID, or the alias of something.
_ID = r"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[a-z]{1,2}-[0-9a-f]{3,32})$"


def install_openapi(app: FastAPI, settings: Settings) -> None:
    """Have `app` publish its description completed."""
    describe = app.openapi
    field_bounds = bounds(settings)

    def completed() -> Schema:
        if app.openapi_schema is None:
            document = describe()
            _complete_fields(document, field_bounds)
            _complete_rules(document["components"]["schemas"])
        return app.openapi_schema or {}

    app.openapi = completed  # type: ignore[method-assign]


def _complete_fields(document: Schema, told: dict[str, Schema]) -> None:
    requests = [
        schema for name, schema in document["components"]["schemas"].items() if name.endswith(_REQUESTS)
    ]
    for schema in requests:
        for name, field in schema.get("properties", {}).items():
            value = _value(field)
            value |= told.get(name, {})
            _describe_id(name, value)
            _describe_id(name.removesuffix("s"), value.get("items", {}))
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                _describe_id(parameter["name"], _value(parameter["schema"]))


#: How the names of models of requests end.
_REQUESTS = ("Request", "Options")


def _value(field: Schema) -> Schema:
    """What a field is when it is not null."""
    return next((one for one in field.get("anyOf", ()) if one.get("type") != "null"), field)


def _describe_id(name: str, value: Schema) -> None:
    if name.endswith("_id") and value.get("type") == "string":
        value.pop("maxLength", None)
        value["pattern"] = _ID


def _complete_rules(schemas: dict[str, Schema]) -> None:
    cancel, success = schemas["CancelRequest"], schemas["SuccessRequest"]
    cancel["oneOf"] = [
        _only(scope, SCOPES, never=() if scope == "ask_id" else ("round",)) for scope in SCOPES
    ]
    for run in (schemas["StudyRunRequest"], schemas["AskRunRequest"]):
        run["oneOf"] = [_only(given, ("person_ids", "sample")) for given in ("person_ids", "sample")]
    success["anyOf"] = [_given(name) for name in success["properties"]]
    schemas["AskRunRequest"]["properties"]["mind"] |= mind_names()
    complete_iteration_schema(schemas["IterationRequest"])


def _given(name: str) -> Schema:
    """This field is given, and not null."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _only(name: str, of: tuple[str, ...], never: tuple[str, ...] = ()) -> Schema:
    """This field is given, and the others are not, or null."""
    given = _given(name)
    given["properties"] |= {other: {"type": "null"} for other in (*of, *never) if other != name}
    return given
