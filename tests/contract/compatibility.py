"""What a schema promised, held against what it has become: which callers would break, and where.

Of answers: what is documented stays, of the same type, and stays as certain to be there; fields may be added.
Of requests: what was taken is taken; nothing more may be needed. Words, titles and examples are no promise.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

Schema = dict[str, Any]

#: What may be said otherwise.
WORDS = {
    *("title", "description", "default", "example", "examples", "deprecated", "discriminator"),
    *("$schema", "$id", "summary"),
}
#: Read part by part; all others are compared as they are.
_PARTS = {
    "$ref",
    "$defs",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "enum",
    "anyOf",
    "oneOf",
}
#: Bounds of requests, and whether a greater one lets in more.
_BOUNDS = {
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), True),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), False),
}
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


class _Side(NamedTuple):
    """A schema, with the document that its references point into."""

    schema: Schema
    document: Schema
    #: By which it is referred to, if it is.
    name: str = ""

    def part(self, schema: Any) -> "_Side":
        """A part of it; what it refers to, if it refers."""
        name = ""
        while isinstance(schema, dict) and "$ref" in schema:
            target: Any = self.document
            for name in schema["$ref"].removeprefix("#/").split("/"):
                target = target[name]
            schema = target
        return _Side(schema if isinstance(schema, dict) else {}, self.document, name)

    def forms(self) -> "list[_Side]":
        """What it may be, each of which is no choice itself. Rules over the fields of an object are none."""
        choice = () if "properties" in self.schema else self.schema.get("anyOf", self.schema.get("oneOf", ()))
        if not choice:
            return [self]
        return [form for one in choice for form in self.part(one).forms()]


def response_changes(promised: Schema, now: Schema, *, has_views: bool = False) -> list[str]:
    """What a reader of `promised` would trip over in `now`. `has_views`: callers say which form they want."""
    return _broken(_whole(promised), _whole(now), "answer", taken=False, may_be_more=has_views)


def broken_request(promised: Schema, now: Schema) -> list[str]:
    """What was fine by `promised` and no longer is."""
    return _broken(_whole(promised), _whole(now), "request", taken=True)


def api_changes(promised: Schema, now: Schema) -> list[str]:
    """The same for all routes of an OpenAPI document: their parameters, bodies, statuses and answers."""
    found: list[str] = []
    for path, item in promised["paths"].items():
        for method in item.keys() & _METHODS:
            name = f"{method.upper()} {path}"
            operation = now["paths"].get(path, {}).get(method)
            if operation is None:
                found.append(f"{name} is gone")
            else:
                found += [f"{name}: {one}" for one in _broken_route(item[method], operation, promised, now)]
    return found


def _whole(schema: Schema) -> _Side:
    return _Side({}, schema).part(schema)


def _broken_route(promised: Schema, now: Schema, was: Schema, document: Schema) -> Iterator[str]:
    old, new = _Side(promised, was), _Side(now, document)
    parameters = {(one["in"], one["name"]): one for one in now.get("parameters", ())}
    known = {(one["in"], one["name"]): one for one in promised.get("parameters", ())}
    for key, one in known.items():
        if key not in parameters:
            yield f"parameter {key[1]} is gone"
            continue
        yield from _broken(old.part(one["schema"]), new.part(parameters[key]["schema"]), key[1], taken=True)
    for key, one in parameters.items():
        if one.get("required") and not known.get(key, {}).get("required"):
            yield f"parameter {key[1]} is needed now"
    body, new_body = promised.get("requestBody", {}), now.get("requestBody", {})
    if new_body.get("required") and not body.get("required"):
        yield "a body is needed now"
    yield from _broken_content(old, new, body.get("content", {}), new_body.get("content", {}), "body", True)
    for status, answer in promised["responses"].items():
        if status not in now["responses"]:
            yield f"status {status} is gone"
            continue
        new_content = now["responses"][status].get("content", {})
        yield from _broken_content(old, new, answer.get("content", {}), new_content, f"{status}", False)


def _broken_content(old: _Side, new: _Side, promised: Schema, now: Schema, at: str, taken: bool) -> Iterator[str]:
    for kind, content in promised.items():
        if kind not in now:
            yield f"{at} {kind} is gone"
        elif "schema" in content:
            was, is_ = old.part(content["schema"]), new.part(now[kind].get("schema", {}))
            yield from _broken(was, is_, at, taken=taken, may_be_more=True)


def _broken(old: _Side, new: _Side, at: str, *, taken: bool, may_be_more: bool = False) -> list[str]:
    """`may_be_more`: another view of an object may be answered where somebody asks for it."""
    was, is_ = old.forms(), new.forms()
    if len(was) == len(is_) == 1:
        return list(_broken_form(was[0], is_[0], at, taken=taken))
    if lost := [one for one in was if not _fits_any(one, is_, taken=taken)]:
        best = min((list(_broken_form(lost[0], one, at, taken=taken)) for one in is_), key=len)
        return [f"{at}: {_named(lost[0])} is gone or changed ({'; '.join(best)})"]
    if taken or may_be_more:
        return []
    more = [one for one in is_ if not any(not list(_broken_form(w, one, at, taken=False)) for w in was)]
    return [f"{at} may be {_named(more[0])} now"] if more else []


def _fits_any(old: _Side, forms: list[_Side], *, taken: bool) -> bool:
    # One that goes by the same name is meant, and no other, whatever else may fit as well.
    same = [one for one in forms if old.name and one.name == old.name]
    return any(not list(_broken_form(old, one, "", taken=taken)) for one in same or forms)


def _named(side: _Side) -> str:
    return str(side.name or side.schema.get("type") or side.schema)


def _broken_form(old: _Side, new: _Side, at: str, *, taken: bool) -> Iterator[str]:
    was, is_ = old.schema, new.schema
    for keyword in sorted((was.keys() | is_.keys()) - WORDS - _PARTS):
        if not _still(keyword, was.get(keyword), is_.get(keyword), taken=taken):
            yield f"{at}: {keyword} was {was.get(keyword)!r} and is {is_.get(keyword)!r}"
    yield from _broken_choice(was, is_, at, taken=taken)
    yield from _broken_fields(old, new, at, taken=taken)
    if "items" in was:
        yield from _broken(old.part(was["items"]), new.part(is_.get("items")), f"{at}[]", taken=taken)
    others, new_others = was.get("additionalProperties"), is_.get("additionalProperties")
    if isinstance(others, dict) and isinstance(new_others, dict):
        yield from _broken(old.part(others), new.part(new_others), f"{at}.*", taken=taken)
    elif others != new_others and not (taken and new_others in {None, True}):
        yield f"{at}: other fields were {others!r} and are {new_others!r}"


def _still(keyword: str, was: Any, is_: Any, *, taken: bool) -> bool:
    """Does a keyword promise what it did?"""
    if was == is_:
        return True
    if not taken:
        # What is answered may become more certain.
        return was is None
    if is_ is None:
        return True
    if was is None or keyword not in _BOUNDS:
        return False
    return bool(is_ >= was if _BOUNDS[keyword] else is_ <= was)


def _broken_choice(was: Schema, is_: Schema, at: str, *, taken: bool) -> Iterator[str]:
    if "enum" in was and "enum" in is_:
        if lost := [value for value in was["enum"] if value not in is_["enum"]]:
            yield f"{at} has no {lost[0]!r} any more"
        if not taken and (more := [value for value in is_["enum"] if value not in was["enum"]]):
            yield f"{at} may be {more[0]!r} now"
    elif ("enum" in is_) if taken else ("enum" in was):
        yield f"{at}: enum was {was.get('enum')!r} and is {is_.get('enum')!r}"
    for rule in ("anyOf", "oneOf"):
        old, new = (json.dumps(one.get(rule), sort_keys=True) for one in (was, is_))
        if "properties" in was and old != new and not (taken and rule not in is_):
            yield f"{at}: the rule over its fields is another ({rule})"


def _broken_fields(old: _Side, new: _Side, at: str, *, taken: bool) -> Iterator[str]:
    fields, new_fields = old.schema.get("properties", {}), new.schema.get("properties", {})
    for name, field in fields.items():
        if name not in new_fields:
            yield f"{at}.{name} is gone"
        else:
            yield from _broken(old.part(field), new.part(new_fields[name]), f"{at}.{name}", taken=taken)
    needed, new_needed = set(old.schema.get("required", ())), set(new.schema.get("required", ()))
    if taken:
        yield from (f"{at}.{name} is needed now" for name in sorted(new_needed - needed))
    else:
        yield from (f"{at}.{name} may be absent now" for name in sorted(needed - new_needed))
