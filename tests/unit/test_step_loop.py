"""The loop of all steps has no thread pool that one step could fill."""

import ast
import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.syntax_trees import ROOT, nodes_by_module
from understudy.isolation.per_loop import PerLoop
from understudy.isolation.step_loop import StepLoop


def run(scene: Callable[[], Awaitable[object]]) -> object:
    with asyncio.Runner(loop_factory=StepLoop) as runner:
        return runner.run(scene())  # type: ignore[arg-type]


def test_to_thread_runs_beside_any_number_of_blocked_calls() -> None:
    release = threading.Event()

    async def scene() -> int:
        blocked = [asyncio.create_task(asyncio.to_thread(release.wait, 30)) for _ in range(100)]
        await asyncio.sleep(0)
        done = await asyncio.to_thread(lambda: 7)
        release.set()
        await asyncio.gather(*blocked)
        return done

    assert run(scene) == 7


def test_to_thread_raises_what_the_function_raises() -> None:
    async def scene() -> None:
        await asyncio.to_thread(int, "seven")

    with pytest.raises(ValueError, match="seven"):
        run(scene)


def test_getaddrinfo_returns_what_the_socket_module_returns() -> None:
    async def scene() -> object:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("127.1", 80, type=socket.SOCK_STREAM)
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET6)
        return found

    assert run(scene) == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)


def test_object_of_a_loop_is_built_once() -> None:
    kept = PerLoop(list[int])

    async def get_twice() -> list[int]:
        assert kept.get() is kept.get()
        return kept.get()

    first = run(get_twice)
    assert run(get_twice) is not first


def test_no_step_looks_up_a_name_with_the_system() -> None:
    layers = {"environments", "minds", "models", "isolation"}
    calls = [
        f"{path}: {node.attr}"
        for path, nodes in nodes_by_module().items()
        if layers & set(path.relative_to(ROOT).parts) and path.name != "step_loop.py"
        for node in nodes
        if isinstance(node, ast.Attribute) and node.attr in {"getaddrinfo", "gethostbyname", "run_in_executor"}
    ]
    assert [call for call in calls if "resolver.py" not in call] == []
