"""Adds to request schemas the facts their models lack: bounds from settings, and installed plug-ins."""

from typing import Any, TypeAlias, get_args

from understudy.operations.requests import DEFAULT_RUN_TIMEOUT_S, DEFAULT_STEP_TIMEOUT_S, DEFAULT_WAIT_S, Modality
from understudy.plugins.registry import content_model, environments, minds, profiled_minds
from understudy.settings import Settings

Schema: TypeAlias = dict[str, Any]


def bounds(settings: Settings) -> dict[str, Schema]:
    """Returns bounds that come from settings or from a field's meaning, by field name, for all requests."""
    return {
        "additional_steps": {"minimum": 1, "maximum": settings.max_additional_steps},
        "timeout": _seconds(DEFAULT_WAIT_S, settings.max_wait_s),
        "sample": {"maximum": settings.max_participants_per_run},
        "person_ids": {"maxItems": settings.max_participants_per_run},
        "round": {"minimum": 1},
        "step_timeout": _seconds(DEFAULT_STEP_TIMEOUT_S, settings.max_step_timeout_s),
        "run_timeout": _seconds(DEFAULT_RUN_TIMEOUT_S, settings.max_run_timeout_s),
    }


def _seconds(default: float, maximum: float) -> Schema:
    return {"maximum": maximum, "default": min(default, maximum)}


def content_schemas() -> dict[str, Schema]:
    """Returns the schema of the content of each installed environment."""
    installed = sorted({name for modality in get_args(Modality) for name in environments(modality)})
    return {name: _content_schema(name) for name in installed}


def _content_schema(environment: str) -> Schema:
    if model := content_model(environment):
        schema: Schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        return schema
    only = {"type": "string", "const": environment}
    return {"type": "object", "properties": {"environment": only}, "required": ["environment"]}


def mind_names() -> Schema:
    """Returns the schema of `mind`: the name of a mind, or a profile such as `llm:cheap`."""
    profiled = sorted(profiled_minds())
    names = {"enum": sorted({*minds(), *profiled})}
    profiles = ({"type": "string", "pattern": f"^{name}:[a-z0-9][a-z0-9_-]{{0,49}}$"} for name in profiled)
    return {"anyOf": [names, *profiles]}
