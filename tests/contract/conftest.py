"""Callers whose every answer is held against /openapi.json, and servers with settings of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from api.app import create_app
from shared.settings import Settings
from tests.callers import Caller
from tests.contract.openapi import check_answer
from tests.servers import serve_in_thread


@pytest.fixture
def acme(acme: Caller) -> Caller:
    acme.http.event_hooks["response"].append(partial(check_answer, acme.api))
    return acme


@pytest.fixture
def rival(rival: Caller) -> Caller:
    rival.http.event_hooks["response"].append(partial(check_answer, rival.api))
    return rival


@pytest.fixture
def api_with(settings: Settings) -> Iterator[Callable[..., str]]:
    """Starts another server on the same store, with some settings changed; its address."""
    with ExitStack() as servers:
        yield lambda **changes: servers.enter_context(
            serve_in_thread(create_app(settings.model_copy(update=changes)))
        )
