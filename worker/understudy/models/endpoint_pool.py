"""The desk: each profile's endpoint, one per process, so that runs share its connections."""

import asyncio

from worker.models.endpoint import Endpoint
from worker.models.profiles import DEFAULT, Profile, find_profile

_endpoints: dict[tuple[str, int], Endpoint] = {}


def endpoint(name: str) -> tuple[Endpoint, Profile]:
    """The endpoint of a profile, and the profile. Raises ModelFailed when there is none to be had."""
    name = name or DEFAULT
    profile = find_profile(name)
    # By loop too: connections belong to the one that they were made on.
    key = (name, id(asyncio.get_running_loop()))
    if key not in _endpoints:
        _endpoints[key] = Endpoint(name, profile)
    return _endpoints[key], profile
