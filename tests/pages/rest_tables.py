"""Endpoints and objects of the API as Markdown, from its own description."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.pages.tables import table
from understudy.api.app import create_app
from understudy.settings import Settings

Json = dict[str, Any]


def without_test_plugins(value: Any) -> Any:
    """Returns a schema without the contents of environments that only the tests have installed."""
    if isinstance(value, list):
        return [without_test_plugins(one) for one in value if not _is_of_tests(one)]
    if isinstance(value, dict):
        return {name: without_test_plugins(one) for name, one in value.items() if name != "ScriptedContent"}
    return value


def _is_of_tests(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    environment = schema.get("properties", {}).get("environment", {}).get("const")
    return environment in _OF_TESTS or schema.get("$ref", "").endswith("/ScriptedContent")


def _description() -> Json:
    description: Json = without_test_plugins(create_app(Settings()).openapi())
    return description


def endpoints() -> str:
    """Returns a section for each endpoint: description, answers, fields."""
    description = _description()
    schemas = description["components"]["schemas"]
    return "\n".join(
        _endpoint(schemas, f"{method.upper()} {path}", operation)
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    )


def objects() -> str:
    """A section for each object that is sent or answered."""
    description = _description()
    # What a request consists of stands with its endpoint already.
    told = {
        name
        for operations in description["paths"].values()
        for operation in operations.values()
        for name in _bodies(operation)
    }
    return "\n".join(
        _object(name, schema)
        for name, schema in sorted(description["components"]["schemas"].items())
        if schema.get("properties") and not name.startswith("Page_") and (name not in told or name in _NESTED)
    )


def _endpoint(schemas: Json, route: str, operation: Json) -> str:
    rows = [
        (
            f"`{one['name']}`",
            one["in"],
            *_sent(_cells(one["schema"], one["required"], one.get("description", ""))),
        )
        for one in operation.get("parameters", ())
    ]
    bodies = list(_bodies(operation))
    for name in bodies:
        where = "body" if len(bodies) == 1 else f"body: {name}"
        rows += [(field, where, *_sent(cells)) for field, *cells in _fields(schemas[name])]
    answers = [f"{status} {_answer(answer)}" for status, answer in operation["responses"].items() if status < "300"]
    lines = (
        f"### {route}",
        f"`{operation['operationId']}`. {_line(operation.get('description', ''))}",
        f"Returns {', or '.join(answers)}.",
        table(("field", "in", "type", "default", "meaning"), rows),
    )
    return "\n\n".join(lines)


def _object(name: str, schema: Json) -> str:
    if name.endswith(("Request", "Options")):
        fields = fields_table(schema)
    else:
        rows = [
            (field, kind, "" if absent == REQUIRED else "optional", meaning)
            for field, kind, absent, meaning in _fields(schema)
        ]
        fields = table(("field", "type", "", "meaning"), rows)
    lines = (f"### {name}", _line(schema.get("description", "")), fields)
    return "\n\n".join(line for line in lines if line)


def fields_table(schema: Json) -> str:
    """What may be sent, field by field."""
    rows = [(field, *_sent(cells)) for field, *cells in _fields(schema)]
    return table(("field", "type", "default", "meaning"), rows)


def _sent(cells: Sequence[str]) -> tuple[str, ...]:
    # In what is sent, null is the same as nothing: the page says so once.
    kind, *rest = cells
    return kind.removesuffix(" or null"), *rest


REQUIRED = "required"
#: What only the tests have installed.
_OF_TESTS = {"scripted"}
#: Bodies that are a part of another one, too.
_NESTED = {"IterationRequest", "PersonRequest"}


def _bodies(operation: Json) -> Iterator[str]:
    """The names of what may be sent."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    for one in (schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if "$ref" in one:
            yield one["$ref"].split("/")[-1]


def _answer(answer: Json) -> str:
    content = answer.get("content", {})
    if "application/json" in content:
        return _type(content["application/json"]["schema"])
    return f"`{next(iter(content))}`" if content else "nothing"


def _fields(schema: Json) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        yield (f"`{name}`", *_cells(field, name in required, field.get("description", "")))


def _cells(schema: Json, required: bool, meaning: str) -> tuple[str, str, str]:
    """Type, what holds when it is left out, and meaning."""
    if not meaning:
        meaning = next((one["description"] for one in schema.get("anyOf", ()) if "description" in one), "")
    default = schema.get("default")
    absent = "" if default is None else f"`{json.dumps(default)}`"
    return _type(schema), REQUIRED if required else absent, _line(meaning)


def _type(schema: Json) -> str:
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        page = re.fullmatch(r"Page_(\w+)_", name)
        return f"page of {page[1]}" if page else name
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"] if value not in _OF_TESTS)
    return _plain_type(schema)


def _plain_type(schema: Json) -> str:
    match schema.get("type"):
        case "array":
            return f"array of {_type(schema['items'])}" + _bounds(schema, "minItems", "maxItems", " items")
        case "string" if schema.get("format") == "uuid":
            return "UUID"
        case "string" if "[0-9a-fA-F]{8}" in schema.get("pattern", ""):
            return "id"
        case "string":
            return "string" + _bounds(schema, "minLength", "maxLength", " characters")
        case "integer":
            return "integer" + _bounds(schema, "minimum", "maximum")
        case "number":
            return "number" + _bounds(schema, "minimum", "maximum")
        case "boolean":
            return "boolean"
        case "object":
            values = schema.get("additionalProperties")
            return f"object of {_type(values)}" if isinstance(values, dict) else "object"
        case "null":
            return "null"
        case _:
            return "any"


def _bounds(schema: Json, least: str, most: str, of: str = "") -> str:
    low, high, above = schema.get(least), schema.get(most), schema.get("exclusiveMinimum")
    told = "" if above is None else f", more than {_number(above)}"
    if low is not None and high is not None:
        return f"{told}, {_number(low)} to {_number(high)}{of}"
    if low is not None:
        return f"{told}, at least {_number(low)}{of}"
    return told if high is None else f"{told}, at most {_number(high)}{of}"


def _number(value: float) -> str:
    # No float holds the largest number of 63 bits.
    return "2^63 - 1" if value > 2**62 else f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _line(text: str) -> str:
    return " ".join(text.split())
