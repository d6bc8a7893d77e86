"""The MCP tools: each offers one operation, or a get and the list of its objects. Source: contract section 6."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
from pydantic import Field, TypeAdapter, create_model

from understudy.domain.errors import ValidationError
from understudy.operations import asks, docs, participants, people, simulations, studies
from understudy.operations.operation import Operation, Tier, path_type
from understudy.operations.request_base import Request
from understudy.operations.requests import MAX_KEY_LENGTH
from understudy.operations.validation_messages import format_problems

IdempotencyKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="A text that you choose. A call repeated with the same key within 24 hours starts nothing and "
        "returns the result of the first call.",
    ),
]
_key = TypeAdapter(IdempotencyKey | None)


class ToolCall(NamedTuple):
    """The parsed call of a tool."""

    operation: Operation
    request: Any
    idempotency_key: str | None


@dataclass(frozen=True, eq=False)
class Tool:
    """One tool, with the name of its operation."""

    operation: Operation
    #: The list of the same objects, used if the id is not given.
    list: Operation | None = None
    #: Value of the tool's own argument `view` -> operation, if several operations show one object.
    views: Mapping[str, Operation] = field(default_factory=dict)
    #: Title and documentation, if they are not those of the operation.
    own_title: str = ""
    documentation: str = ""

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def title(self) -> str:
        return self.own_title or self.operation.title

    @property
    def tier(self) -> Tier:
        return self.operation.tier

    @property
    def description(self) -> str:
        """Returns the documentation, with what the list adds."""
        text = self.documentation or self.operation.documentation
        if self.list is not None:
            listing = self.list.documentation
            text += f"\n\nWithout `{self.operation.path_parameters[0]}`: {listing[0].lower()}{listing[1:]}"
            text += " `next_cursor` is null on the last page."
        return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))

    @property
    def answers(self) -> tuple[Any, ...]:
        """Returns the models of its answers."""
        operations = (*(self.views.values() or (self.operation,)), *((self.list,) if self.list else ()))
        return tuple(operation.answer for operation in operations)

    def schema(self) -> dict[str, Any]:
        """Returns the JSON Schema of its arguments, as pydantic generates it."""
        if self.list is None:
            return self.operation.arguments.json_schema()
        id_ = self.operation.path_parameters[0]
        fields: dict[str, Any] = {id_: (path_type(id_) | None, None)}
        if self.views:
            views = Literal[tuple(self.views)]  # type: ignore[valid-type]
            fields["view"] = (views, Field(default=next(iter(self.views)), description="View of one object."))
        for one in (self.operation, *self.views.values(), self.list):
            fields |= {name: (info.annotation, info) for name, info in one.fields.items() if name not in fields}
        return create_model(self.name, __base__=Request, **fields).model_json_schema()

    def parse(self, arguments: Mapping[str, Any]) -> ToolCall:
        """Returns what these arguments ask for. Raises ValidationError.

        `null` counts as not given, and so does an empty text for an optional parameter: hosts fill in both.
        """
        required = self._required
        given = {name: value for name, value in arguments.items() if name in required or value not in (None, "")}
        try:
            key = _key.validate_python(given.pop("idempotency_key", None)) if self.operation.starts else None
            operation = self._choose(given)
            return ToolCall(operation, operation.arguments.validate_python(given), key)
        except pydantic.ValidationError as error:
            raise ValidationError(format_problems(error.errors())) from error

    def requires(self, argument: str) -> bool:
        """Returns whether a call must have this argument."""
        return argument in self._required

    @cached_property
    def _required(self) -> set[str]:
        if self.list is not None:
            return set()
        fields = {name for name, info in self.operation.fields.items() if info.is_required()}
        return fields.union(self.operation.path_parameters)

    def _choose(self, given: dict[str, Any]) -> Operation:
        """Returns the operation for these arguments; removes `view` if it only chooses the operation."""
        if self.list is None:
            return self.operation
        id_ = self.operation.path_parameters[0]
        if id_ not in given:
            _reject(given, self._parameters - _parameters(self.list), f"requires {id_}")
            return self.list
        _reject(given, _parameters(self.list) - self._parameters, f"only for the list, without {id_}")
        operation = self.operation
        if self.views:
            view = given.pop("view", next(iter(self.views)))
            if view not in self.views:
                raise ValidationError(f"view: give one of {', '.join(self.views)}")
            operation = self.views[view]
            _reject(given, self._parameters - _parameters(operation), f"does not apply to view {view}")
        return operation

    @cached_property
    def _parameters(self) -> frozenset[str]:
        """Returns the parameters for one object, over all views."""
        own = _parameters(self.operation).union(*map(_parameters, self.views.values()))
        return own | {"view"} if self.views else own


def _parameters(operation: Operation) -> frozenset[str]:
    return frozenset((*operation.path_parameters, *operation.fields))


def _reject(given: Mapping[str, Any], names: frozenset[str], condition: str) -> None:
    if present := [name for name in given if name in names]:
        raise ValidationError(f"{' and '.join(present)}: {condition}")


TOOLS: tuple[Tool, ...] = (
    Tool(studies.STUDY_CREATE),
    Tool(studies.STUDY_ADD_ITERATION),
    Tool(studies.STUDY_RUN),
    Tool(studies.STUDY_GET, studies.STUDY_LIST, own_title="Get studies"),
    Tool(asks.ASK_RUN),
    Tool(asks.ASK_ROUND),
    Tool(asks.ASK_GET, asks.ASK_LIST, own_title="Get asks"),
    Tool(people.PERSON_CREATE),
    Tool(people.PERSON_GET, people.PERSON_LIST, own_title="Get people"),
    Tool(
        participants.PARTICIPANT_GET,
        participants.PARTICIPANT_LIST,
        views={
            "participant": participants.PARTICIPANT_GET,
            "interactions": participants.PARTICIPANT_INTERACTIONS,
            "transcript": participants.PARTICIPANT_TRANSCRIPT,
            "journey": participants.PARTICIPANT_JOURNEY,
        },
        own_title="Get participants",
        documentation="""\
Get one participant, its journey or its transcript.

A participant is one person in one run. `view` "participant" (the default) has its status, outcome and number of
interactions; "interactions" has each step; "transcript" has the run as text, to read and to quote; "journey" has
thoughts, sentiment curve, friction points and where it gave up. The last three include the interactions of its
sources.""",
    ),
    Tool(simulations.SIMULATION_CANCEL),
    Tool(simulations.SIMULATION_EXTEND),
    Tool(simulations.SIMULATION_WAIT),
    Tool(docs.DOCS_GET, docs.DOCS_LIST, own_title="Read the documentation"),
)
