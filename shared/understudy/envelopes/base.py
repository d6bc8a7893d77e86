"""Base types of all envelopes: times, statuses, pages and optional fields.

Ids are UUIDs as strings; times are RFC 3339 in UTC with `Z`. Fields may be added, never removed or retyped.
Source: contract sections 3, 5, 6 and 7.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PlainSerializer, Strict, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from understudy.domain import lifecycle

Item = TypeVar("Item")

#: The domain's statuses and outcomes, inlined in each schema instead of a shared definition.
Status = Annotated[
    lifecycle.Status,
    Strict(False),
    WithJsonSchema({"type": "string", "enum": [str(status) for status in lifecycle.Status]}),
]
Outcome = Annotated[
    lifecycle.Outcome,
    Strict(False),
    WithJsonSchema({"type": "string", "enum": [str(outcome) for outcome in lifecycle.Outcome]}),
]


def rfc3339(moment: datetime) -> str:
    """Returns `moment` in UTC with `Z` and microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Time = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"}, mode="serialization"),
]


class Envelope(BaseModel):
    """Base of all envelopes. Ignores unknown fields, so that older readers accept newer servers."""

    # The schema requires all fields that are always present.
    model_config = ConfigDict(extra="ignore", json_schema_serialization_defaults_required=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describes optional fields as absent or present, never null."""
        schema = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        if handler.mode == "serialization":
            for name in [name for name, field in cls.model_fields.items() if field.exclude_if]:
                field = described["properties"][name]
                field.pop("default", None)
                if len(values := [item for item in field.get("anyOf", ()) if item != {"type": "null"}]) == 1:
                    del field["anyOf"]
                    field |= values[0]
                if name in described.get("required", ()):
                    described["required"].remove(name)
        return schema


def optional_field(description: str) -> Any:
    """Returns a field that is absent if it does not apply."""
    return Field(default=None, exclude_if=lambda value: value is None, description=description)


class Page(Envelope, Generic[Item]):
    items: list[Item]
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")
