"""Compares a promised schema with the current one and lists each change that would break a caller.

Of answers: what is documented stays, of the same type and as certain to be there; fields may be added.
Of requests: what was accepted stays accepted, and no more is required. Words, titles and examples are no promise.
"""

import json
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from typing import Any

Schema = dict[str, Any]

#: Keywords that may change.
WORDS = {
    *("title", "description", "default", "example", "examples", "deprecated", "discriminator"),
    *("$schema", "$id", "summary"),
}
#: The name under which a schema was referred to, once it is inlined.
_NAME = "$name"
#: Keywords with a comparison of their own; all others must stay as they are.
_PARTS = {_NAME, "properties", "required", "items", "additionalProperties", "enum", "anyOf", "oneOf"}
#: Bounds of requests, and whether a greater one accepts more.
_BOUNDS = {
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), True),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), False),
}


def response_changes(promised: Schema, now: Schema, *, has_views: bool = False) -> list[str]:
    """Returns the changes that a reader of `promised` cannot read. `has_views`: callers choose the form."""
    return _changes(_inlined(promised), _inlined(now), "answer", is_request=False, may_add_forms=has_views)


def broken_request(promised: Schema, now: Schema) -> list[str]:
    """Returns the requests that `promised` accepts and `now` refuses."""
    return _changes(_inlined(promised), _inlined(now), "request", is_request=True)


def api_changes(promised: Schema, now: Schema) -> list[str]:
    """The same for all routes of an OpenAPI document: their parameters, bodies, statuses and answers."""
    was, is_ = (_inlined(document["paths"], document) for document in (promised, now))
    return [
        change
        for path, operations in was.items()
        for method, operation in operations.items()
        for change in (
            [f"{method.upper()} {path}: {one}" for one in _route_changes(operation, is_[path][method])]
            if method in is_.get(path, {})
            else [f"{method.upper()} {path} is gone"]
        )
    ]


def _inlined(schema: Any, document: Schema | None = None) -> Any:
    """The same with the target of each reference in its place."""
    document = schema if document is None else document
    if isinstance(schema, list):
        return [_inlined(one, document) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        path = schema["$ref"].removeprefix("#/").split("/")
        return {_NAME: path[-1]} | _inlined(reduce(getitem, path, document), document)
    return {key: _inlined(one, document) for key, one in schema.items() if key != "$defs"}


def _forms(schema: Schema) -> list[Schema]:
    """The alternatives of a schema. A rule over the fields of an object is none."""
    choice = [] if "properties" in schema else schema.get("anyOf") or schema.get("oneOf") or []
    return [form for one in choice for form in _forms(one)] or [schema]


def _route_changes(was: Schema, is_: Schema) -> Iterator[str]:
    known, parameters = ({(one["in"], one["name"]): one for one in side.get("parameters", ())} for side in (was, is_))
    yield from (f"parameter {name} is gone" for _, name in known.keys() - parameters.keys())
    for key, one in parameters.items():
        if key in known:
            yield from _changes(known[key]["schema"], one["schema"], key[1], is_request=True)
        if one.get("required") and not known.get(key, {}).get("required"):
            yield f"parameter {key[1]} is required now"
    body, new_body = was.get("requestBody", {}), is_.get("requestBody", {})
    if new_body.get("required") and not body.get("required"):
        yield "a body is required now"
    yield from _content_changes(body, new_body, "body", is_request=True)
    for status, answer in was["responses"].items():
        if status in is_["responses"]:
            yield from _content_changes(answer, is_["responses"][status], status, is_request=False)
        else:
            yield f"status {status} is gone"


def _content_changes(was: Schema, is_: Schema, at: str, *, is_request: bool) -> Iterator[str]:
    for kind, content in was.get("content", {}).items():
        if kind not in is_.get("content", {}):
            yield f"{at} {kind} is gone"
        elif "schema" in content:
            schema = is_["content"][kind].get("schema", {})
            yield from _changes(content["schema"], schema, at, is_request=is_request, may_add_forms=True)


def _changes(was: Any, is_: Any, at: str, *, is_request: bool, may_add_forms: bool = False) -> list[str]:
    """`may_add_forms`: an answer may get another form that only callers who ask for it receive."""
    old, new = (_forms(side if isinstance(side, dict) else {}) for side in (was, is_))
    if len(old) == len(new) == 1:
        return list(_form_changes(old[0], new[0], at, is_request=is_request))

    def fits(form: Schema, others: list[Schema]) -> bool:
        return any(not list(_form_changes(form, one, at, is_request=is_request)) for one in others)

    for form in old:
        # If a form of the same name is left, it is the one to compare with.
        same_name = [one for one in new if _NAME in form and one.get(_NAME) == form[_NAME]]
        if not fits(form, same_name or new):
            return [f"{at}: {_label(form)} is gone or changed"]
    if is_request or may_add_forms:
        return []
    return [f"{at} may be {_label(one)} now" for one in new if not any(fits(form, [one]) for form in old)]


def _label(form: Schema) -> str:
    return str(form.get(_NAME) or form.get("type") or form)


def _form_changes(was: Schema, is_: Schema, at: str, *, is_request: bool) -> Iterator[str]:
    for keyword in sorted((was.keys() | is_.keys()) - WORDS - _PARTS):
        if not _keeps(keyword, was.get(keyword), is_.get(keyword), is_request=is_request):
            yield f"{at}: {keyword} was {was.get(keyword)!r} and is {is_.get(keyword)!r}"
    yield from _enum_changes(was.get("enum"), is_.get("enum"), at, is_request=is_request)
    for rule in ("anyOf", "oneOf"):
        is_same = json.dumps(was.get(rule), sort_keys=True) == json.dumps(is_.get(rule), sort_keys=True)
        if "properties" in was and not is_same and not (is_request and rule not in is_):
            yield f"{at}: the rule over its fields is another ({rule})"
    yield from _field_changes(was, is_, at, is_request=is_request)
    if "items" in was:
        yield from _changes(was["items"], is_.get("items"), f"{at}[]", is_request=is_request)
    others, new_others = was.get("additionalProperties"), is_.get("additionalProperties")
    if isinstance(others, dict) and isinstance(new_others, dict):
        yield from _changes(others, new_others, f"{at}.*", is_request=is_request)
    elif others != new_others and not (is_request and new_others in (None, True)):
        yield f"{at}: other fields were {others!r} and are {new_others!r}"


def _keeps(keyword: str, was: Any, is_: Any, *, is_request: bool) -> bool:
    """Whether a keyword still promises what it did. Answers may become more certain, requests less strict."""
    if was == is_ or (is_ if is_request else was) is None:
        return True
    if was is not None and is_request and keyword == "not" and was.keys() == is_.keys() == {"properties"}:
        # A rule that asks for more fields to be null refuses less.
        return bool(was["properties"].items() <= is_["properties"].items())
    if was is None or not is_request or keyword not in _BOUNDS:
        return False
    return bool(is_ >= was if _BOUNDS[keyword] else is_ <= was)


def _enum_changes(was: list[Any] | None, is_: list[Any] | None, at: str, *, is_request: bool) -> Iterator[str]:
    if was is not None and is_ is not None:
        yield from (f"{at} has no {value!r} any more" for value in was if value not in is_)
        if not is_request:
            yield from (f"{at} may be {value!r} now" for value in is_ if value not in was)
    elif (is_ if is_request else was) is not None:
        yield f"{at}: enum was {was!r} and is {is_!r}"


def _field_changes(was: Schema, is_: Schema, at: str, *, is_request: bool) -> Iterator[str]:
    fields, new_fields = was.get("properties", {}), is_.get("properties", {})
    yield from (f"{at}.{name} is gone" for name in fields if name not in new_fields)
    for name in fields.keys() & new_fields.keys():
        yield from _changes(fields[name], new_fields[name], f"{at}.{name}", is_request=is_request)
    required, new_required = set(was.get("required", ())), set(is_.get("required", ()))
    if is_request:
        yield from (f"{at}.{name} is required now" for name in sorted(new_required - required))
    else:
        yield from (f"{at}.{name} may be absent now" for name in sorted(required - new_required))
