"""The JSON Schemas of tools: what goes in, what comes out. Made from the models that do the work.

What goes in is written for readers: nothing is referred to from elsewhere, and what may be left out has one
type (`null` is taken too, and counts as left out). Bounds that are settings are those of this server.
"""

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from understudy.admission.schemas import Schema, bounds, complete_iteration_schema
from understudy.mcp.tool import Tool
from understudy.settings import Settings


def input_schema(tool: Tool, settings: Settings) -> Schema:
    """An object with the request's fields; of a request of several forms, the fields of all of them."""
    made = tool.request.json_schema()
    forms = [_inlined(form, made.get("$defs", {})) for form in made.get("oneOf", [made])]
    properties = {name: field for form in forms for name, field in form["properties"].items()}
    required = [name for name in properties if all(name in form.get("required", ()) for form in forms)]
    schema: Schema = {
        "type": "object",
        # What is needed comes first.
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
    """An object, whatever the answer is: the protocol wants that said at the root. Not to be changed."""
    schema = TypeAdapter(answer).json_schema(mode="serialization")
    # A word of OpenAPI; here `ok` is a constant of each branch.
    schema.pop("discriminator", None)
    return {"type": "object"} | schema


def _inlined(schema: Any, definitions: Schema) -> Any:
    """The same schema with every reference replaced by what it refers to."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        meant = _inlined(definitions[reference.rpartition("/")[2]], definitions)
        return meant | {name: one for name, one in schema.items() if name != "$ref"}
    return {name: _inlined(one, definitions) for name, one in schema.items() if name != "$defs"}


def _readable(field: Schema) -> Schema:
    """A field as models read it: its bounds in words, and no titles made from names."""
    plain = {name: one for name, one in field.items() if name != "title"}
    if len(others := [one for one in plain.pop("anyOf", ()) if one.get("type") != "null"]) == 1:
        plain = others[0] | plain
    if plain.get("default", ...) is None:
        del plain["default"]
    if words := " ".join(filter(None, (plain.get("description"), _bounds_in_words(plain)))):
        plain["description"] = words
    if "properties" in plain:
        plain["properties"] = {name: _readable(one) for name, one in plain["properties"].items()}
    if "items" in plain:
        plain["items"] = _readable(plain["items"])
    return plain


def _bounds_in_words(field: Schema) -> str:
    if "maxItems" in field:
        return f"At most {field['maxItems']:,}."
    if "maximum" not in field:
        return ""
    if "exclusiveMinimum" in field:
        return f"More than {field['exclusiveMinimum']:g}, at most {field['maximum']:,g}."
    return f"From {field['minimum']} to {field['maximum']:,}."
