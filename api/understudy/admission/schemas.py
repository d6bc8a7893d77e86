"""Adds to request schemas the facts their models lack: bounds from settings, and installed plug-ins."""

from typing import Any, TypeAlias, get_args

from understudy.operations.requests import DEFAULT_WAIT_S, Modality
from understudy.plugins.registry import environments, minds, profiled_minds
from understudy.settings import Settings

Schema: TypeAlias = dict[str, Any]


def bounds(settings: Settings) -> dict[str, Schema]:
    """Returns bounds that come from settings or from a field's meaning, by field name, for all requests."""
    return {
        "additional_steps": {"minimum": 1, "maximum": settings.max_additional_steps},
        "timeout": {"maximum": settings.max_wait_s, "default": min(DEFAULT_WAIT_S, settings.max_wait_s)},
        "sample": {"maximum": settings.max_participants_per_run},
        "person_ids": {"maxItems": settings.max_participants_per_run},
        "round": {"minimum": 1},
    }


def complete_iteration_schema(schema: Schema) -> None:
    """Adds the installed environments and minds to the schema of an iteration."""
    content = schema["properties"]["content"]
    installed = {name for modality in get_args(Modality) for name in environments(modality)}
    content |= {
        "required": ["environment"],
        "properties": {
            "environment": {
                "type": "string",
                "enum": sorted(installed),
                "description": "Environment that supports the study's modality.",
            },
            "url": {
                "type": "string",
                "pattern": "^https?://[^/ ]+",
                "description": "Start page, if the environment is web.",
            },
        },
    }
    schema["properties"]["mind"] |= mind_names()


def mind_names() -> Schema:
    """Returns the schema of `mind`: the name of a mind, or a profile such as `llm:cheap`."""
    profiled = sorted(profiled_minds())
    names = {"enum": sorted({*minds(), *profiled})}
    profiles = ({"type": "string", "pattern": f"^{name}:[a-z0-9][a-z0-9_-]{{0,49}}$"} for name in profiled)
    return {"anyOf": [names, *profiles]}
