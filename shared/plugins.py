"""Which environments and minds are installed. Names only: nothing of theirs is imported here.

An environment's entry-point group names the study modality it serves, so that the API can check a study
without importing worker code.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

MIND_GROUP = "understudy.minds"


@cache
def environments(modality: str) -> dict[str, EntryPoint]:
    """The environments that fit a modality, by name."""
    return _installed(f"understudy.environments.{modality}")


@cache
def minds() -> dict[str, EntryPoint]:
    """The minds, by name."""
    return _installed(MIND_GROUP)


def _installed(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=group))}
