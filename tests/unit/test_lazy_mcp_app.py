"""The load of the MCP app at its first request."""

import asyncio
from typing import Any

import pytest

from understudy.mcp import lazy_app
from understudy.mcp.lazy_app import LazyMcpApp


class FakeMcpApp:
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def __aenter__(self) -> None:
        self.notes.append("open")

    async def __aexit__(self, *_: object) -> None:
        self.notes.append("closed")

    def run(self) -> "FakeMcpApp":
        return self

    def close_streams(self) -> None:
        self.notes.append("no streams")

    async def __call__(self, scope: Any, *_: object) -> None:
        self.notes.append(scope)


def request(app: LazyMcpApp, scope: Any) -> "asyncio.Task[None]":
    return asyncio.create_task(app(scope, None, None))  # type: ignore[arg-type]


def test_first_requests_load_the_app_once_and_the_end_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[FakeMcpApp] = []
    monkeypatch.setattr(lazy_app, "_load", lambda _: loaded.append(FakeMcpApp()) or loaded[-1])

    async def scene() -> None:
        app = LazyMcpApp(None)  # type: ignore[arg-type]
        async with app.run():
            app.close_streams()
            first = request(app, "first")
            # The client of the request that loads it disconnects.
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(request(app, "second"), request(app, "third"))
            app.close_streams()

    asyncio.run(scene())
    (app,) = loaded
    assert app.notes == ["open", "second", "third", "no streams", "closed"]


def test_load_that_fails_fails_each_request_and_not_the_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ImportError("no SDK")

    monkeypatch.setattr(lazy_app, "_load", fail)

    async def scene() -> list[Any]:
        app = LazyMcpApp(None)  # type: ignore[arg-type]
        async with app.run():
            results = await asyncio.gather(*(request(app, name) for name in "ab"), return_exceptions=True)
            app.close_streams()
        return results

    assert [str(error) for error in asyncio.run(scene())] == ["no SDK"] * 2
