"""Lists the installed environments and minds by name, without importing them.

An environment's entry-point group names the modality it serves, so the API can validate a study without
worker code.
"""

import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

ENVIRONMENT_GROUPS = "understudy.environments."
MIND_GROUP = "understudy.minds"
#: Minds with several profiles: `name` selects the default profile, `name:profile` another.
PROFILED_MIND_GROUP = "understudy.profiled_minds"

#: Models of the content of an iteration, by the name of the environment.
CONTENT_GROUP = "understudy.contents"

_PROFILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


@cache
def environments(modality: str) -> dict[str, EntryPoint]:
    """Returns the environments of a modality by name."""
    return _installed(ENVIRONMENT_GROUPS + modality)


@cache
def minds() -> dict[str, EntryPoint]:
    """Returns the minds without profiles by name."""
    return _installed(MIND_GROUP)


@cache
def profiled_minds() -> dict[str, EntryPoint]:
    """Returns the minds with profiles by name."""
    return _installed(PROFILED_MIND_GROUP)


@cache
def content_model(environment: str) -> Any:
    """Returns the pydantic model of this environment's content, or None: then any object is valid."""
    point = _installed(CONTENT_GROUP).get(environment)
    return None if point is None else point.load()


def mind_error(name: str) -> str:
    """Returns why `name` is not a valid mind and what is valid; empty if it is valid.

    Only workers know the profiles, so it checks the form of a profile, not its existence.
    """
    kind, colon, profile = name.partition(":")
    if colon and kind in profiled_minds():
        if _PROFILE.fullmatch(profile):
            return ""
        return f"Profile {profile!r} of mind {kind} is invalid; use lower case, like {kind}:cheap."
    if name in minds() or name in profiled_minds():
        return ""
    return f"There is no mind {name!r}; use one of: {', '.join(sorted({*minds(), *profiled_minds()}))}."


def create_mind(name: str) -> Any:
    """Creates the mind `name`. Raises LookupError if it is not installed here."""
    kind, _, profile = name.partition(":")
    if problem := mind_error(name):
        raise LookupError(problem)
    return profiled_minds()[kind].load()(profile) if kind in profiled_minds() else minds()[kind].load()()


def describe_plugins() -> str:
    """Returns one line for the log: `chat: chat; interactive: web; minds: heuristic, llm`."""
    groups = sorted(group for group in entry_points().groups if group.startswith(ENVIRONMENT_GROUPS))
    modalities = (group.removeprefix(ENVIRONMENT_GROUPS) for group in groups)
    plugins = {modality: environments(modality) for modality in modalities}
    plugins["minds"] = minds() | profiled_minds()
    return "; ".join(f"{kind}: {', '.join(sorted(names))}" for kind, names in plugins.items())


def _installed(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=group))}
