"""Adds the parameters of operations to a command as options."""

import inspect
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import typer

from understudy.cli.generated_options import OPTIONS
from understudy.cli.numbers import seconds, whole_number

_PARSERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "integer": (int | None, {"parser": whole_number}),
    "number": (float | None, {"parser": seconds}),
    "string": (str | None, {}),
}
#: Parameters whose option has another name. Source: contract section 8.
_FLAGS = {"additional_steps": "--steps"}


class OperationOption(NamedTuple):
    """One parameter of an operation, as its definition describes it."""

    kind: str
    metavar: str
    help: str
    default: str


def with_options(
    function: Callable[..., None], operations: Iterable[str], without: Container[str] = ()
) -> Callable[..., None]:
    """Returns `function` with an option for each parameter of `operations` that it does not take itself.

    The values arrive in its parameter `options`, by the name of the parameter; those not given are None. `without`
    names parameters that the command sets by itself.
    """
    own = list(inspect.signature(function).parameters.values())
    taken = {parameter.name for parameter in own}
    added = {
        name: OperationOption(*option)
        for operation in operations
        for name, option in OPTIONS[operation].items()
        if name not in taken and name not in without
    }

    def command(*args: Any, **values: Any) -> None:
        options = {name: values.pop(name) for name in added}
        function(*args, **values, options=options)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    parameters = [parameter for parameter in own if parameter.name != "options"]
    command.__signature__ = inspect.Signature([*parameters, *map(_parameter, added, added.values())])  # type: ignore[attr-defined]
    return command


def _parameter(name: str, option: OperationOption) -> inspect.Parameter:
    kind, parsing = _PARSERS[option.kind]
    flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
    shown = option.default or None
    declared = typer.Option(flag, metavar=option.metavar, help=option.help, show_default=shown or False, **parsing)
    annotation: Any = Annotated[kind, declared]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None)


def fields_of(operation: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the given options that are parameters of `operation`, without the idempotency key."""
    names = OPTIONS[operation].keys() - {"idempotency_key"}
    return {name: value for name, value in options.items() if name in names and value is not None}
