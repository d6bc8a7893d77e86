"""A failure of our own, such as a silent name server, is never the fault of the site or the chatbot."""

import asyncio
import contextlib
import json
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.environments import act, use
from understudy.domain.simulation import Observation
from understudy.environments import chatbot_client, fetch, guarded_transport
from understudy.environments.chat import ChatEnvironment
from understudy.environments.web import WebEnvironment
from understudy.plugins.time_limits import StepTimer, start_timer


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer("text/html", f"<title>Home</title><a href='http://later.test:{self.server.server_port}/'>Go</a>")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer("application/json", json.dumps({"reply": "Hello"}))

    def _answer(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_transport, "_OWN_FAILURE_S", 0)
    monkeypatch.setattr(fetch, "_OWN_FAILURE_PAUSE_S", 0)
    monkeypatch.setattr(chatbot_client, "_PAUSE_S", 0)


class SilentNameServer:
    """Resolves a name at the third attempt; `fails` lists what happens before."""

    def __init__(self, *fails: int | str) -> None:
        self._fails = list(fails)
        self.timer: StepTimer | None = None
        #: Why the step was late, at each attempt.
        self.delayed_by: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        if self.timer is not None:
            self.delayed_by.append(self.timer.delayed_by)
        if self._fails:
            fail = self._fails.pop(0)
            if isinstance(fail, str):
                await asyncio.Event().wait()
            raise socket.gaierror(fail, "no name server answers in time")
        return ["127.0.0.1"]


def step(scene: Callable[[], Awaitable[Observation]], resolver: SilentNameServer) -> Observation:
    async def go() -> Observation:
        resolver.timer = start_timer(60)
        return await scene()

    return asyncio.run(go())


def test_start_page_whose_name_gets_no_answer_is_opened_when_it_does(port: int) -> None:
    resolver = SilentNameServer(socket.EAI_AGAIN, socket.EAI_AGAIN)
    environment = WebEnvironment({"url": f"http://shop.test:{port}/"}, allow_private_hosts=True, resolver=resolver)

    async def look(opened: WebEnvironment) -> Observation:
        return opened.observe()

    assert step(lambda: use(environment, look), resolver).title == "Home"
    assert resolver.timer is not None
    assert resolver.timer.delayed_by == "", "it no longer is"
    assert "shop.test could not be looked up" in resolver.delayed_by[-1]


def test_later_page_whose_name_gets_no_answer_is_a_problem_of_the_page(port: int) -> None:
    resolver = SilentNameServer()
    environment = WebEnvironment({"url": f"http://shop.test:{port}/"}, allow_private_hosts=True, resolver=resolver)

    async def go_on(opened: WebEnvironment) -> Observation:
        resolver._fails.append(socket.EAI_AGAIN)
        return await act(opened, "follow", "Go")

    assert "later.test could not be looked up" in step(lambda: use(environment, go_on), resolver).problem


@pytest.mark.parametrize("fail", [socket.EAI_AGAIN, "silence"])
def test_chatbot_whose_name_gets_no_answer_is_asked_when_it_does(port: int, fail: int | str) -> None:
    resolver = SilentNameServer(fail)
    content = {
        "url": f"http://bot.test:{port}/",
        "protocol": "json",
        "request": {"text": "{message}"},
        "response_path": "reply",
        "reply_timeout": 1,
    }
    environment = ChatEnvironment(content, allow_private_hosts=True, resolver=resolver)
    seen = step(lambda: use(environment, lambda opened: act(opened, "say", value="hi")), resolver)
    assert seen.news == "Hello"
    assert "bot.test" in resolver.delayed_by[-1]


def test_start_page_without_a_free_file_descriptor_is_opened_when_there_is_one(port: int) -> None:
    async def scene() -> Observation:
        environment = WebEnvironment({"url": f"http://127.0.0.1:{port}/"}, allow_private_hosts=True)
        timer = start_timer(60)
        with _no_descriptor_left():
            opening = asyncio.create_task(environment.open())
            await asyncio.wait({opening}, timeout=0.2)
        assert "Too many open files" in timer.delayed_by
        await opening
        await environment.close()
        return environment.observe()

    assert asyncio.run(scene()).title == "Home"


@contextlib.contextmanager
def _no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(each.name) for each in Path("/proc/self/fd").iterdir()), hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
