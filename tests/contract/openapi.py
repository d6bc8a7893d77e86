"""Answers held against /openapi.json: status, fields, types. Stricter than JSON Schema: what is not
documented may not be there."""

import re
from typing import Any

import httpx

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ERROR_KEYS = {"error", "error_code", "retryable", "suggestions"}


_known: list[dict[str, Any]] = []


def spec(api: str) -> dict[str, Any]:
    """The description; it is the same whatever server answers, so it is asked for once."""
    if not _known:
        _known.append(httpx.get(f"{api}/openapi.json", trust_env=False).json())
    return _known[0]


def routes(api: str) -> set[tuple[str, str]]:
    """Every documented (method, path)."""
    return {(method.upper(), path) for path, item in spec(api)["paths"].items() for method in item}


def check_answer(api: str, response: httpx.Response) -> None:
    """Raises AssertionError when this is not what the description of its route says."""
    response.read()
    method, path = response.request.method, response.request.url.path
    here = f"{method} {path}: {response.status_code}"
    documented = spec(api)
    operation = next(
        (
            item[method.lower()]
            for template, item in documented["paths"].items()
            if re.fullmatch(_pattern(template), path) and method.lower() in item
        ),
        None,
    )
    if operation is None:
        assert response.status_code in {401, 404, 405}, f"{here} of no documented route"
        if method != "HEAD":
            assert set(response.json()) - {"ok", "error_kind"} == ERROR_KEYS, here
        return
    answer = operation["responses"].get(str(response.status_code))
    assert answer is not None, f"{here} is not documented"
    schema = answer["content"]["application/json"]["schema"]
    problems = list(_problems(documented, schema, response.json(), "answer"))
    assert not problems, f"{here}: {problems}"


def _pattern(template: str) -> str:
    # A page's slug is the one parameter that goes over slashes.
    return re.sub(r"\{\w+\}", "[^/]+", template.replace("{slug}", ".+"))


def _problems(documented: dict[str, Any], schema: dict[str, Any], value: Any, at: str) -> list[str]:
    if reference := schema.get("$ref"):
        return _problems(documented, documented["components"]["schemas"][reference.split("/")[-1]], value, at)
    for kind in ("oneOf", "anyOf"):
        if kind in schema:
            tried = [_problems(documented, one, value, at) for one in schema[kind]]
            fitting = sum(not problems for problems in tried)
            if fitting == 1 or (fitting and kind == "anyOf"):
                return []
            return [f"{at} fits {fitting} of {len(tried)}: {tried}"]
    if "const" in schema and value != schema["const"]:
        return [f"{at} is not {schema['const']!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at} is none of {schema['enum']}"]
    if "type" in schema and not _is(value, schema["type"]):
        return [f"{at} is no {schema['type']}"]
    if isinstance(value, list):
        each = schema.get("items", {})
        return [one for item in value for one in _problems(documented, each, item, f"{at}[]")]
    if isinstance(value, dict):
        return _problems_of_object(documented, schema, value, at)
    if isinstance(value, str) and schema.get("format") == "uuid" and not _UUID.fullmatch(value):
        return [f"{at} is no UUID"]
    if isinstance(value, str) and at.endswith("_at") and not _TIME.fullmatch(value):
        return [f"{at} is no time in UTC with Z"]
    return []


def _problems_of_object(
    documented: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], at: str
) -> list[str]:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", not properties)
    found = [f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, item in value.items():
        if name in properties:
            found += _problems(documented, properties[name], item, f"{at}.{name}")
        elif isinstance(others, dict):
            found += _problems(documented, others, item, f"{at}.{name}")
        elif not others:
            found.append(f"{at}.{name} is not documented")
    return found


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
