"""SQL conditions on a trait: its number, its text, and whether it exists.

A trait's name comes from `TraitCondition`, so it has no characters with a meaning in a path.
"""
# ruff: noqa: S608 - the SQL here consists of compiled parts

from typing import Any

from sqlalchemy import Boolean, ColumnElement, Float, Text, and_, cast, literal, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from understudy.domain.filters import TraitCondition


def trait_matches(traits: ColumnElement[Any], test: TraitCondition) -> ColumnElement[bool]:
    """Returns the condition `test`. A trait that is not a number is neither above nor below one."""
    name = cast(literal(test.name), Text)
    number: ColumnElement[Any] = trait_number(traits, name)
    match test.operator:
        case "":
            return trait_exists(traits, name)
        case "=":
            text: ColumnElement[bool] = trait_equals(traits, name, cast(literal(test.text), Text))
            return text if test.number is None else or_(text, and_(number.is_not(None), number == test.number))
        case "<":
            return number < test.number
        case "<=":
            return number <= test.number
        case ">":
            return number > test.number
        case _:
            return number >= test.number


class trait_number(FunctionElement[Any]):  # noqa: N801 - an SQL function
    """The trait of that name as a number; null if it is not a number."""

    type = Float()
    inherit_cache = True


class trait_equals(FunctionElement[Any]):  # noqa: N801
    """Whether the trait of that name is this text, true or false, or a list that contains it."""

    type = Boolean()
    inherit_cache = True


class trait_exists(FunctionElement[Any]):  # noqa: N801
    """Whether a trait of that name exists and is not null."""

    type = Boolean()
    inherit_cache = True


def _parts(element: FunctionElement[Any], compiler: Any, **options: Any) -> list[str]:
    return [compiler.process(part, **options) for part in element.clauses]


@compiles(trait_number, "sqlite")
def _sqlite_number(element: trait_number, compiler: Any, **options: Any) -> str:
    traits, name = _parts(element, compiler, **options)
    path = f"'$.\"' || {name} || '\"'"
    return f"(CASE WHEN json_type({traits}, {path}) IN ('integer', 'real') THEN json_extract({traits}, {path}) END)"


@compiles(trait_number, "postgresql")
def _postgresql_number(element: trait_number, compiler: Any, **options: Any) -> str:
    traits, name = _parts(element, compiler, **options)
    return (
        f"(CASE WHEN json_typeof({traits} -> {name}) = 'number' THEN CAST({traits} ->> {name} AS double precision) END)"
    )


@compiles(trait_equals, "sqlite")
def _sqlite_equals(element: trait_equals, compiler: Any, **options: Any) -> str:
    traits, name, value = _parts(element, compiler, **options)
    path = f"'$.\"' || {name} || '\"'"
    return (
        f"(json_type({traits}, {path}) IN ('text', 'true', 'false', 'array') AND EXISTS "
        f"(SELECT 1 FROM json_each({traits}, {path}) AS one WHERE "
        f"CASE one.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' WHEN 'text' THEN one.value END "
        f"= {value}))"
    )


@compiles(trait_equals, "postgresql")
def _postgresql_equals(element: trait_equals, compiler: Any, **options: Any) -> str:
    traits, name, value = _parts(element, compiler, **options)
    return (
        f"(CASE json_typeof({traits} -> {name}) WHEN 'array' THEN EXISTS "
        f"(SELECT 1 FROM json_array_elements({traits} -> {name}) AS one(item) WHERE "
        f"json_typeof(item) IN ('string', 'boolean') AND item #>> '{{}}' = {value}) "
        f"WHEN 'string' THEN {traits} ->> {name} = {value} "
        f"WHEN 'boolean' THEN {traits} ->> {name} = {value} ELSE false END)"
    )


@compiles(trait_exists, "sqlite")
def _sqlite_exists(element: trait_exists, compiler: Any, **options: Any) -> str:
    traits, name = _parts(element, compiler, **options)
    return f"(coalesce(json_type({traits}, '$.\"' || {name} || '\"'), 'null') <> 'null')"


@compiles(trait_exists, "postgresql")
def _postgresql_exists(element: trait_exists, compiler: Any, **options: Any) -> str:
    traits, name = _parts(element, compiler, **options)
    return f"(coalesce(json_typeof({traits} -> {name}), 'null') <> 'null')"
