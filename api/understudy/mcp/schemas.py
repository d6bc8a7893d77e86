"""The JSON Schemas of tool inputs and outputs, generated from the models. Source: contract section 9.

Input schemas are portable: model providers refuse or drop a tool whose schema has alternatives at its root, or
any `additionalProperties`. They contain no references, and an optional field has one type (`null` is valid and
means omitted). Bounds that are settings have the values of this server. Output schemas are outlines: the whole list
of tools is part of every conversation with a model.
"""

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from understudy.admission.schemas import Schema, bounds, content_schemas, mind_names
from understudy.operations.tools import IdempotencyKey, Tool
from understudy.settings import Settings


def input_schema(tool: Tool, settings: Settings) -> Schema:
    """Returns an object schema with the fields of all forms of the request."""
    source = tool.schema()
    forms = [_inlined(form, source.get("$defs", {})) for form in source.get("oneOf", [source])]
    properties = {name: field for form in forms for name, field in form.get("properties", {}).items()}
    required = [name for name in properties if all(name in form.get("required", ()) for form in forms)]
    if tool.operation.starts:
        properties["idempotency_key"] = TypeAdapter(IdempotencyKey).json_schema()
    schema: Schema = {
        "type": "object",
        # Required fields come first.
        "properties": {name: properties[name] for name in dict.fromkeys([*required, *properties])},
    }
    if required:
        schema["required"] = required
    bound = bounds(settings)
    for name, field in schema["properties"].items():
        schema["properties"][name] = _readable(field | bound.get(name, {}))
    for part in (schema, schema["properties"].get("iteration", {})):
        fields = part.get("properties", {})
        if "content" in fields:
            contents = [_inlined(form, form.get("$defs", {})) for form in content_schemas().values()]
            fields["content"] = {
                "description": fields["content"]["description"],
                "anyOf": [_readable(content) for content in contents],
            }
            fields["mind"] |= mind_names()
    return schema


@cache
def output_schema(tool: Tool) -> Schema:
    """Returns the cached schema; do not modify it.

    It has the fields of all answers, and those that every answer has as required; objects in it are open. The whole
    schemas are in /openapi.json.
    """
    forms = [form for answer in tool.answers for form in _forms(answer)]
    fields = {name: field for form in forms for name, field in form["properties"].items()}
    required = [name for name in fields if all(name in form.get("required", ()) for form in forms)]
    return {
        "type": "object",
        "properties": {name: _outline(field) for name, field in fields.items()},
        **({"required": required} if required else {}),
    }


def _forms(answer: Any) -> list[Schema]:
    """Returns the object schemas that an answer may have."""
    schema = TypeAdapter(answer).json_schema(mode="serialization")
    alternatives = schema.get("oneOf") or schema.get("anyOf") or [schema]
    return [_inlined(alternative, schema.get("$defs", {})) for alternative in alternatives]


def _outline(field: Schema) -> Schema:
    """Returns the type of a field, without words and without the fields of objects."""
    if "anyOf" in field:
        kinds = [option["type"] for option in field["anyOf"] if "type" in option]
        return {"type": kinds} if len(set(kinds)) > 1 and len(kinds) == len(field["anyOf"]) else {}
    if field.get("type") == "array":
        return {"type": "array", "items": _outline(field["items"])}
    if "const" in field:
        return {"type": field.get("type", "boolean")}
    return {"type": field["type"]} if "type" in field else {"type": "object"} if "properties" in field else {}


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
    """Returns a field for readers: bounds as text, without generated titles and closed objects."""
    plain = _portable(field)
    if len(others := [part for part in plain.pop("anyOf", ()) if part.get("type") != "null"]) == 1:
        plain = _portable(others[0]) | plain
    elif others:
        plain["anyOf"] = [_readable(part) for part in others]
    if plain.get("default", ...) in (None, {}):
        del plain["default"]
    if text := " ".join(filter(None, (plain.get("description"), _bounds_text(plain)))):
        plain["description"] = text
    for name in _BOUNDS:
        plain.pop(name, None)
    if "properties" in plain:
        plain["properties"] = {name: _readable(part) for name, part in plain["properties"].items()}
    if "items" in plain:
        plain["items"] = _readable(plain["items"])
    return plain


#: Keywords that not every provider accepts; the descriptions and the server have the bounds.
_BOUNDS = ("minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "pattern")


def _portable(field: Schema) -> Schema:
    return {name: part for name, part in field.items() if name not in {"title", "examples", "additionalProperties"}}


def _bounds_text(field: Schema) -> str:
    if "maxItems" in field:
        return f"At most {field['maxItems']:,}."
    if "maximum" not in field:
        return ""
    if "exclusiveMinimum" in field:
        return f"More than {field['exclusiveMinimum']:g}, at most {field['maximum']:,g}."
    return f"From {field['minimum']} to {field['maximum']:,}."
