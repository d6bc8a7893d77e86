"""Which environments and minds are installed. Names only: nothing of theirs is imported here.

An environment's entry-point group names the study modality it serves, so that the API can check a study
without importing worker code.
"""

import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

ENVIRONMENT_GROUPS = "understudy.environments."
MIND_GROUP = "understudy.minds"
#: Minds that come in several profiles: `name` is the default one, `name:profile` another.
PROFILED_MIND_GROUP = "understudy.profiled_minds"

_PROFILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


@cache
def environments(modality: str) -> dict[str, EntryPoint]:
    """The environments that fit a modality, by name."""
    return _installed(ENVIRONMENT_GROUPS + modality)


@cache
def minds() -> dict[str, EntryPoint]:
    """The minds, by name."""
    return _installed(MIND_GROUP)


@cache
def profiled_minds() -> dict[str, EntryPoint]:
    """The minds that come in profiles, by name."""
    return _installed(PROFILED_MIND_GROUP)


def mind_error(name: str) -> str:
    """Why nobody could decide as `name`, and what would be right; empty if somebody can.

    Which profiles there are is known to the workers only.
    """
    kind, colon, profile = name.partition(":")
    if colon and kind in profiled_minds():
        if _PROFILE.fullmatch(profile):
            return ""
        return (
            f"After {kind}: comes the name of a profile, in lower case, like {kind}:cheap, not {profile!r}."
        )
    if name in minds() or name in profiled_minds():
        return ""
    return f"There is no mind {name!r}; there is {', '.join(sorted({*minds(), *profiled_minds()}))}."


def create_mind(name: str) -> Any:
    """The mind of that name. Raises LookupError when it is not installed here."""
    kind, _, profile = name.partition(":")
    if problem := mind_error(name):
        raise LookupError(problem)
    return profiled_minds()[kind].load()(profile) if kind in profiled_minds() else minds()[kind].load()()


def describe_plugins() -> str:
    """All of them in a line, for people: `chat: chat; interactive: web; minds: heuristic, llm`."""
    groups = sorted(group for group in entry_points().groups if group.startswith(ENVIRONMENT_GROUPS))
    modalities = (group.removeprefix(ENVIRONMENT_GROUPS) for group in groups)
    names = {modality: environments(modality) for modality in modalities}
    names["minds"] = minds() | profiled_minds()
    return "; ".join(f"{kind}: {', '.join(sorted(some))}" for kind, some in names.items())


def _installed(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=group))}
