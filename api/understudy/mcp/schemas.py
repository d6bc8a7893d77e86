"""The JSON Schemas of tool inputs and outputs, generated from the models.

Input schemas are for readers: they contain no references, and an optional field has one type (`null` is valid
and means omitted). Bounds that are settings have the values of this server.
"""

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from understudy.admission.schemas import Schema, bounds, complete_iteration_schema
from understudy.mcp.tool import Tool
from understudy.settings import Settings


def input_schema(tool: Tool, settings: Settings) -> Schema:
    """Returns an object schema with the fields of all forms of the request."""
    source = tool.request.json_schema()
    forms = [_inlined(form, source.get("$defs", {})) for form in source.get("oneOf", [source])]
    properties = {name: field for form in forms for name, field in form["properties"].items()}
    required = [name for name in properties if all(name in form.get("required", ()) for form in forms)]
    schema: Schema = {
        "type": "object",
        # Required fields come first.
        "properties": {name: properties[name] for name in dict.fromkeys([*required, *properties])},
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    bound = bounds(settings)
    for name, field in schema["properties"].items():
        schema["properties"][name] = _readable(field | bound.get(name, {}))
    for part in (schema, schema["properties"].get("iteration", {})):
        if "content" in part.get("properties", ()):
            complete_iteration_schema(part)
    return schema | tool.extra_schema


@cache
def output_schema(answer: Any) -> Schema:
    """Returns the cached schema; do not modify it. The protocol requires `object` at the root."""
    schema = TypeAdapter(answer).json_schema(mode="serialization")
    # `discriminator` is an OpenAPI keyword; here `ok` is a constant of each branch.
    schema.pop("discriminator", None)
    return {"type": "object"} | schema


def _inlined(schema: Any, definitions: Schema) -> Any:
    """Returns the schema with every reference replaced by its definition."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        definition = _inlined(definitions[reference.rpartition("/")[2]], definitions)
        return definition | {name: part for name, part in schema.items() if name != "$ref"}
    return {name: _inlined(part, definitions) for name, part in schema.items() if name != "$defs"}


def _readable(field: Schema) -> Schema:
    """Returns a field for readers: bounds as text, and no generated titles."""
    plain = {name: part for name, part in field.items() if name != "title"}
    if len(others := [part for part in plain.pop("anyOf", ()) if part.get("type") != "null"]) == 1:
        plain = others[0] | plain
    if plain.get("default", ...) is None:
        del plain["default"]
    if text := " ".join(filter(None, (plain.get("description"), _bounds_text(plain)))):
        plain["description"] = text
    if "properties" in plain:
        plain["properties"] = {name: _readable(part) for name, part in plain["properties"].items()}
    if "items" in plain:
        plain["items"] = _readable(plain["items"])
    return plain


def _bounds_text(field: Schema) -> str:
    if "maxItems" in field:
        return f"At most {field['maxItems']:,}."
    if "maximum" not in field:
        return ""
    if "exclusiveMinimum" in field:
        return f"More than {field['exclusiveMinimum']:g}, at most {field['maximum']:,g}."
    return f"From {field['minimum']} to {field['maximum']:,}."
