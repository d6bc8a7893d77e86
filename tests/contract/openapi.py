"""Answers held against /openapi.json: status, fields, types. Stricter than the description: what is not
documented may not be there."""

import copy
import re
from typing import Any

import httpx
import jsonschema_rs

from understudy.envelopes.events import EventData

ERROR_KEYS = {"error", "error_code", "retryable", "suggestions"}

_known: list[dict[str, Any]] = []
_validators: dict[str, jsonschema_rs.Draft202012Validator] = {}


def spec(api: str) -> dict[str, Any]:
    """The description; it is the same whatever server answers, so it is asked for once."""
    if not _known:
        _known.append(httpx.get(f"{api}/openapi.json", trust_env=False, timeout=60).json())
    return _known[0]


def routes(api: str) -> set[tuple[str, str]]:
    """Every documented (method, path)."""
    return {(method.upper(), path) for path, item in spec(api)["paths"].items() for method in item}


def check_answer(api: str, response: httpx.Response) -> None:
    """Raises AssertionError when this is not what the description of its route says.

    Of a stream of events only the beginning is there yet: what reads it checks each with `check_event`.
    """
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        assert (response.request.url.path, response.status_code) == ("/v1/events", 200)
        return
    response.read()
    method, path = response.request.method, response.request.url.path
    here = f"{method} {path}: {response.status_code}"
    found = next(
        (
            (template, item[method.lower()])
            for template, item in spec(api)["paths"].items()
            if (template == path or (path not in spec(api)["paths"] and re.fullmatch(_pattern(template), path)))
            and method.lower() in item
        ),
        None,
    )
    if found is None:
        assert response.status_code in {401, 404, 405}, f"{here} of no documented route"
        if method != "HEAD":
            assert set(response.json()) - {"ok", "error_kind"} == ERROR_KEYS, here
        return
    template, operation = found
    answer = operation["responses"].get(str(response.status_code))
    assert answer is not None, f"{here} is not documented"
    kind = response.headers["content-type"].partition(";")[0]
    if kind != "application/json":
        assert kind in answer["content"], f"{here} answers {kind}"
        return
    schema = answer["content"]["application/json"]["schema"]
    validator = _validator(f"{method} {template} {response.status_code}", schema, spec(api))
    problems = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(response.json())]
    assert not problems, f"{here}: {problems}"


def _pattern(template: str) -> str:
    # A page's slug is the one parameter that goes over slashes.
    return re.sub(r"\{\w+\}", "[^/]+", template.replace("{slug}", ".+"))


def _validator(name: str, schema: Any, documented: Any) -> jsonschema_rs.Draft202012Validator:
    if name not in _validators:
        whole = _strict({**copy.deepcopy(schema), "components": copy.deepcopy(documented["components"])})
        _validators[name] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return _validators[name]


def check_event(api: str, event: dict[str, Any]) -> None:
    """Raises AssertionError when an event, its `data` read as JSON, is not as described."""
    documented = spec(api)
    stream = documented["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    data = EventData.model_json_schema(mode="serialization")
    schema = {**stream["schema"], "properties": stream["schema"]["properties"] | {"data": data}}
    _validator("event", schema, documented).validate(event)


def _strict(schema: Any) -> Any:
    """The same schema, in which objects have the fields that are listed and no others."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            _strict(part)
    if isinstance(schema, list):
        for part in schema:
            _strict(part)
    return schema
