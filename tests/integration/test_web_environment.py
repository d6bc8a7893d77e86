"""The web environment against a real server that misbehaves in every way it can, on loopback."""

import asyncio
import gzip
import json
import socket
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qs

import pytest

from tests.servers import serve_in_thread
from understudy.domain.simulation import Action, Observation
from understudy.environments import EnvironmentUnreachable, transport
from understudy.environments.forms import PageRequest
from understudy.environments.transport import is_public
from understudy.environments.web import WebEnvironment

T = TypeVar("T")

HOME = """<title>Home</title><h1>Welcome</h1><a href="/other#part">Other</a>
<form action="/sent" method="post"><label>Note <input name="note"></label>
<input type="hidden" name="h" value="1"><label>Box <input type="checkbox" name="box"></label>
<label>Pick <select name="pick"><option>a<option>b</select></label><button>Send</button></form>
<form action="/echo"><label>Word <input name="word"></label></form>
<form action="/echo"><select name="auto" onchange="this.form.submit()"><option>one<option>two</select></form>
"""


Answer: TypeAlias = tuple[str | bytes, int, str, dict[str, str]]
HTML = "text/html; charset=utf-8"
#: path -> body, status, content type, other headers
ANSWERS: dict[str, Answer] = {
    "/": (HOME, 200, HTML, {}),
    "/other": ("<title>Other</title><a href='/'>Home</a>", 200, HTML, {}),
    "/keep-post": ("", 307, HTML, {"location": "/plain-post"}),
    "/cookie": ("<p>set", 200, HTML, {"set-cookie": "taste=sweet; Path=/; Max-Age=100; HttpOnly"}),
    "/jar": ("<p>x", 200, HTML, {"set-cookie": "big=" + "x" * 5_000}),
    "/refresh": ("<meta http-equiv=refresh content='0; url=/other'>", 200, HTML, {}),
    "/huge": ("<title>Huge</title><p>" + "word " * 1_000_000, 200, HTML, {}),
    "/bomb": (gzip.compress(b"<p>boom " + b"z" * 100_000_000, 1), 200, HTML, {"content-encoding": "gzip"}),
    "/zipped": (gzip.compress(b"<title>Zipped</title>"), 200, HTML, {"content-encoding": "gzip"}),
    "/garbled": (b"no gzip", 200, HTML, {"content-encoding": "gzip"}),
    "/brotli": (b"\x01\x02", 200, HTML, {"content-encoding": "br"}),
    "/error": ("<title>Oops</title><a href='/'>Home</a>", 500, HTML, {}),
    "/file": (b"\x00\x01" * 1_000, 200, "application/pdf", {}),
    "/text": ("plain <b>words</b>", 200, "text/plain", {}),
    "/untyped": ("<title>Untyped</title>", 200, "", {}),
    "/empty": ("", 204, "", {}),
    "/nul": (b"<title>N\x00ul</title><p>a\x00b &#0; &#xd800; <a href='/\x00x'>l\x00</a>", 200, HTML, {}),
    "/latin": ("<p>caf\xe9 \x80".encode("latin-1"), 200, "text/html; charset=latin-1", {}),
    "/meta": ("<meta charset=koi8-r><p>\u043f\u0440\u0438".encode("koi8-r"), 200, "text/html", {}),
    "/bad-charset": ("<p>still read é", 200, "text/html; charset=zip", {}),
    "/broken-utf": (b"<p>\xff\xfe\xfa broken \xc3", 200, HTML, {}),
}
NOT_FOUND: Answer = ("<title>Not found</title><a href='/'>Home</a>", 404, HTML, {})


class Nasty:
    """An ASGI site. Keeps what it was asked for, and what became of connections."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.hung = threading.Event()
        self.dropped = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.requests.append(f"{scope['method']} {scope['path']}")
        self.bodies.append(body)
        self.headers.append({key.decode(): value.decode("latin-1") for key, value in scope["headers"]})
        if scope["path"] in ("/silent", "/endless", "/flood"):
            await self._go_on_forever(scope["path"], receive, send)
            return
        content, status, kind, headers = self._answer(scope, body)
        listed = [(key.encode(), value.encode()) for key, value in headers.items()]
        listed += [(b"content-type", kind.encode())] if kind else []
        await send({"type": "http.response.start", "status": status, "headers": listed})
        content = content.encode() if isinstance(content, str) else content
        await send({"type": "http.response.body", "body": content})

    def _answer(self, scope: Any, body: bytes) -> Answer:
        query = scope["query_string"].decode()
        match scope["path"]:
            case "/sent":
                return "", 303, HTML, {"location": f"/echo?{body.decode()}"}
            case "/plain-post":
                return f"<title>Got {scope['method']}</title><a href='/other'>Other</a>", 200, HTML, {}
            case "/echo":
                return f"<title>Echo</title><p>{query}</p>", 200, HTML, {}
            case "/tray":
                return f"<p>cookies: {self.headers[-1].get('cookie', 'none')}", 200, HTML, {}
            case "/loop":
                return "", 302, HTML, {"location": f"/loop?{query}x"}
            case "/away":
                return "", 302, HTML, {"location": query}
            case "/cut":
                return "<p>begun", 200, HTML, {"content-length": "99"}
        return ANSWERS.get(scope["path"], NOT_FOUND)

    async def _go_on_forever(self, path: str, receive: Any, send: Any) -> None:
        """Until the other side hangs up: without a word, or with too many."""
        part = b"<p>more" if path == "/endless" else b"<p>flood " * 8_000
        if path != "/silent":
            headers = [(b"content-type", b"text/html")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        self.hung.set()
        while True:
            try:
                message = await asyncio.wait_for(receive(), 0.01)
            except TimeoutError:
                if path != "/silent":
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                continue
            assert message["type"] == "http.disconnect"
            self.dropped.set()
            return


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Nasty, str]]:
    site = Nasty()
    with serve_in_thread(site) as address:
        yield site, address


@pytest.fixture
def site(served: tuple[Nasty, str]) -> Nasty:
    served[0].__init__()  # type: ignore[misc]
    return served[0]


@pytest.fixture
def url(served: tuple[Nasty, str], site: Nasty) -> str:
    return served[1]


def visit(start: str, walk: Callable[[WebEnvironment], Awaitable[T]], *, private: bool = True, **settings: Any) -> T:
    """Open an environment at `start`, walk, close. Whatever is left open is a failure."""

    async def go() -> T:
        environment = WebEnvironment({"environment": "web", "url": start}, allow_private_hosts=private, **settings)
        try:
            await environment.open()
            return await walk(environment)
        finally:
            await environment.close()
            await environment.close()

    return asyncio.run(go())


def through_json(snapshot: Any) -> dict[str, Any]:
    return dict(json.loads(json.dumps(snapshot, allow_nan=False)))


def see(start: str, **settings: Any) -> Observation:
    async def look(environment: WebEnvironment) -> Observation:
        json.dumps(environment.snapshot())
        return environment.observe()

    return visit(start, look, **settings)


def number(environment: WebEnvironment, label: str) -> int:
    return next(element.number for element in environment.observe().elements if element.label == label)


async def do(environment: WebEnvironment, kind: str, label: str = "", value: str | None = None) -> Observation:
    await environment.act(Action(kind, number(environment, label) if label else None, label, value))
    return environment.observe()


def test_a_walk_through_links_forms_and_back(url: str, site: Nasty) -> None:
    async def walk(environment: WebEnvironment) -> None:
        seen = await do(environment, "follow", "Other")
        assert (seen.title, seen.url, seen.status) == ("Other", f"{url}/other#part", 200)
        assert (await do(environment, "back")).title == "Home"
        await do(environment, "fill", "Note", "a&b é")
        await do(environment, "check", "Box")
        seen = await do(environment, "choose", "Pick", "b")
        assert [element.value for element in seen.elements[1:4]] == ["a&b é", "on", "b"]
        seen = await do(environment, "press", "Send")
        assert seen.title == "Echo"
        assert seen.problem == ""
        assert parse_qs(seen.text) == {"note": ["a&b é"], "h": ["1"], "box": ["on"], "pick": ["b"]}
        assert site.headers[-2]["referer"] == url
        # The answer to a form is a page of its own; what was sent is not sent again.
        assert (await do(environment, "back")).title == "Home"
        assert (await do(environment, "back")).problem == "There is no page to go back to."
        assert site.requests.count("POST /sent") == 1
        await do(environment, "fill", "Word", "enter")
        assert (await do(environment, "press", "Word")).text == "word=enter"
        await do(environment, "back")
        assert (await do(environment, "choose", "auto", "two")).text == "auto=two"

    visit(url, walk)


def test_what_does_not_fit_is_a_problem_and_changes_nothing(url: str, site: Nasty) -> None:
    async def walk(environment: WebEnvironment) -> None:
        before = environment.observe()
        for action in (
            Action("follow", 99),
            Action("follow", None),
            Action("fill", 1, value="x"),
            Action("choose", number(environment, "Pick"), value="z"),
            Action("press", 1),
            Action("dance", 1),
        ):
            await environment.act(action)
            seen = environment.observe()
            assert seen.problem, action
            assert (seen.url, seen.elements) == (before.url, before.elements)
        for kind in ("wait", "finish", "give_up"):
            await environment.act(Action(kind))
            assert environment.observe() == before

    visit(url, walk)
    assert site.requests == ["GET /"]


def test_a_post_is_never_repeated_by_going_back(url: str, site: Nasty) -> None:
    async def walk(environment: WebEnvironment) -> None:
        form = PageRequest(f"{url}/keep-post", "POST", b"x=1", "application/x-www-form-urlencoded")
        await environment._go(form)
        assert environment.observe().title == "Got POST"
        await do(environment, "follow", "Other")
        assert (await do(environment, "back")).title == "Home"

    visit(url, walk)
    assert site.requests == ["GET /", "POST /keep-post", "POST /plain-post", "GET /other", "GET /"]
    assert site.bodies[1:3] == [b"x=1", b"x=1"]


def test_a_snapshot_brings_back_everything_and_sends_nothing(url: str, site: Nasty) -> None:
    async def walk(environment: WebEnvironment) -> tuple[dict[str, Any], Observation]:
        await environment._follow(f"{url}/other")
        await environment._follow(f"{url}/")
        await do(environment, "fill", "Note", "half done")
        await do(environment, "check", "Box")
        await do(environment, "choose", "Pick", "b")
        await environment.act(Action("follow", 99))
        return through_json(environment.snapshot()), environment.observe()

    snapshot, seen = visit(f"{url}/cookie", walk)
    asked = len(site.requests)

    async def go_on() -> None:
        environment = WebEnvironment({"url": "http://unused.test/"}, allow_private_hosts=True)
        await environment.restore(snapshot)
        assert environment.observe() == seen
        assert through_json(environment.snapshot()) == snapshot
        assert len(site.requests) == asked
        assert parse_qs((await do(environment, "press", "Send")).text)["note"] == ["half done"]
        assert (await do(environment, "back")).title == "Home"
        assert (await do(environment, "back")).title == "Other"
        await environment._follow(f"{url}/tray")
        assert environment.observe().text == "cookies: taste=sweet"
        await environment.close()

    asyncio.run(go_on())


def test_a_page_that_answered_a_form_is_restored_without_sending_it(url: str, site: Nasty) -> None:
    async def walk(environment: WebEnvironment) -> dict[str, Any]:
        await do(environment, "fill", "Note", "once")
        await do(environment, "press", "Send")
        return through_json(environment.snapshot())

    snapshot = visit(url, walk)

    async def look() -> str:
        environment = WebEnvironment({"url": url}, allow_private_hosts=True)
        await environment.restore(snapshot)
        await environment.close()
        return environment.observe().title

    assert asyncio.run(look()) == "Echo"
    assert site.requests == ["GET /", "POST /sent", "GET /echo"]


def test_cookies_are_each_participants_own(url: str) -> None:
    async def walk(environment: WebEnvironment) -> str:
        await environment._follow(f"{url}/jar")
        await environment._follow(f"{url}/tray")
        return environment.observe().text

    assert visit(f"{url}/cookie", walk) == "cookies: taste=sweet"
    assert see(f"{url}/tray").text == "cookies: none"


@pytest.mark.parametrize(
    ("path", "status", "problem", "text"),
    [
        ("/error", 500, "500 Internal Server Error", "Home"),
        ("/missing", 404, "404 Not Found", "Home"),
        ("/file", 200, "a file (application/pdf)", ""),
        ("/text", 200, "", "plain <b>words</b>"),
        ("/empty", 204, "Nothing happened", ""),
        ("/untyped", 200, "", ""),
        ("/garbled", 200, "garbled", ""),
        ("/brotli", 200, "garbled", ""),
        ("/zipped", 200, "", ""),
        ("/refresh", 200, "", "Home"),
        ("/latin", 200, "", "café €"),
        ("/meta", 200, "", "при"),
        ("/bad-charset", 200, "", "still read é"),
        ("/broken-utf", 200, "", "\ufffd\ufffd\ufffd broken \ufffd"),
    ],
)
def test_whatever_answers_is_a_page(url: str, path: str, status: int, problem: str, text: str) -> None:
    seen = see(url + path)
    assert seen.status == status
    assert problem in seen.problem
    assert bool(problem) == bool(seen.problem)
    assert seen.text == text


def test_no_more_is_read_than_is_looked_at(url: str, site: Nasty) -> None:
    assert len(see(f"{url}/huge").text) <= 20_000
    # It would never end; the connection does.
    assert see(f"{url}/flood").text.startswith("flood flood")
    assert site.dropped.wait(10)


def test_no_more_is_unpacked_than_is_looked_at(url: str) -> None:
    tracemalloc.start()
    try:
        assert see(f"{url}/bomb").text.startswith("boom zzz")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000


def test_what_cannot_be_stored_is_not_seen(url: str) -> None:
    seen = see(f"{url}/nul")
    assert (seen.title, seen.text) == ("Nul", "ab \ufffd \ufffd l")
    assert "\x00" not in str(seen)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("{url}/loop", "too many redirects"),
        ("{url}/away?ftp://files.test/x", "not one of a web page"),
        ("{url}/away?http://[broken", "makes no sense"),
        ("{url}/away?javascript:alert(1)", "makes no sense"),
        ("{url}/away?http://nowhere.invalid/", "no site at this address"),
        ("{url}/cut", "broke off"),
        ("http://127.0.0.1:1/", "could not be reached"),
        ("https://127.0.0.1:{port}/", "not secure"),
        ("file:///etc/passwd", "not one of a web page"),
        ("http://", "not one of a web page"),
        ("no address at all", "not one of a web page"),
        ("http://ex ample.test/", "no sense|no site|not one of"),
        ("", "no url"),
        (None, "no url"),
    ],
)
def test_a_place_that_cannot_be_entered_is_unreachable(url: str, start: str | None, says: str) -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError(f"{host}:{port} is not known")

    address = start.format(url=url, port=url.rsplit(":", 1)[1]) if start else start
    with pytest.raises(EnvironmentUnreachable, match=says):
        see(address, resolver=nowhere)  # type: ignore[arg-type]


def test_a_dead_end_later_is_a_page_to_go_back_from(url: str) -> None:
    async def walk(environment: WebEnvironment) -> None:
        for path, problem in (
            ("/loop", "circles"),
            ("/cut", "broke off"),
            ("/away?gopher://x/", "not one of"),
        ):
            await environment._follow(url + path)
            seen = environment.observe()
            assert problem in seen.problem
            assert (seen.status, seen.elements, seen.text) == (None, (), "")
            json.dumps(environment.snapshot())
            assert (await do(environment, "back")).title == "Home"
        await environment._follow(f"{url}/empty")
        assert environment.observe().problem == "Nothing happened."
        assert environment.observe().title == "Home"

    visit(url, walk)


@pytest.mark.parametrize("path", ["/silent", "/endless"])
def test_an_aborted_step_closes_its_connection_at_once(url: str, site: Nasty, path: str) -> None:
    async def walk(environment: WebEnvironment) -> None:
        before = environment.snapshot()
        step = asyncio.create_task(environment._follow(url + path))
        assert await asyncio.to_thread(site.hung.wait, 10)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        # Before close(): it is the abort that hangs up.
        assert await asyncio.to_thread(site.dropped.wait, 10)
        assert environment.snapshot() == before
        assert (await do(environment, "follow", "Other")).title == "Other"

    visit(url, walk)


def test_an_aborted_tls_handshake_closes_its_connection_at_once() -> None:
    async def go() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            begun.set()
            while await reader.read(1_000):
                pass
            ended.set()
            writer.close()

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        environment = WebEnvironment({"url": f"https://127.0.0.1:{port}/"}, allow_private_hosts=True)
        step = asyncio.create_task(environment.open())
        await asyncio.wait_for(begun.wait(), 10)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        await asyncio.wait_for(ended.wait(), 10)
        await environment.close()
        server.close()
        await server.wait_closed()

    asyncio.run(go())


@pytest.mark.parametrize(("method", "asked", "problem"), [("GET", 3, ""), ("POST", 2, "broke off")])
def test_a_connection_that_was_closed_unseen_is_made_anew_but_nothing_is_sent_twice(
    method: str, asked: int, problem: str
) -> None:
    async def go() -> None:
        requests: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                requests.append(head)
                if len(requests) == 2:
                    # The second one comes on the connection of the first.
                    break
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\n<p>ok")
                if len(requests) > 2:
                    break
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        environment = WebEnvironment({"url": address}, allow_private_hosts=True)
        await environment.open()
        await environment._go(PageRequest(address, method, b"" if method == "POST" else None))
        assert problem in environment.observe().problem
        assert bool(problem) == bool(environment.observe().problem)
        assert len(requests) == asked
        await environment.close()
        server.close()
        await server.wait_closed()

    asyncio.run(go())


def test_three_hundred_at_once_do_not_wait_for_each_other(url: str) -> None:
    async def one() -> str:
        environment = WebEnvironment({"url": url}, allow_private_hosts=True)
        await environment.open()
        seen = await do(environment, "follow", "Other")
        await environment.close()
        return seen.title or seen.problem

    async def everybody() -> list[str]:
        return await asyncio.gather(*(one() for _ in range(300)))

    assert set(asyncio.run(everybody())) == {"Other"}


# Addresses

PRIVATE = """
    127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1
    240.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 ::1 :: fe80::1 fc00::1 fec0::1 ff02::1 2001:db8::1
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 2002:a00:1::
"""


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::5db8:d822", True),
        *((address, False) for address in PRIVATE.split()),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "127.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "0",
    ],
)
def test_private_hosts_are_refused_however_they_are_written(url: str, site: Nasty, host: str) -> None:
    with pytest.raises(EnvironmentUnreachable, match=r"must not be visited|no site at|no sense"):
        see(f"http://{host}:{url.rsplit(':', 1)[1]}/", private=False)
    assert site.requests == []


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1", "10.0.0.1"], ["169.254.169.254"]])
def test_a_name_that_resolves_to_private_addresses_is_refused(url: str, site: Nasty, addresses: list[str]) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return addresses

    with pytest.raises(EnvironmentUnreachable, match=r"public\.test is a private address"):
        see(f"http://public.test:{url.rsplit(':', 1)[1]}/", private=False, resolver=resolver)
    assert site.requests == []


def test_the_address_checked_is_the_address_connected_to(
    url: str, site: Nasty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look-up a connection, and nobody looks again: asked twice, this resolver gives another address."""
    monkeypatch.setattr(transport, "is_public", lambda address: address == "127.0.0.1")
    answers = iter([["127.0.0.9", "127.0.0.1"], ["127.0.0.9"]])
    port = url.rsplit(":", 1)[1]
    inside = socket.create_server(("127.0.0.9", int(port)))
    inside.setblocking(False)

    async def resolver(host: str, port: int) -> list[str]:
        return next(answers)

    async def walk(environment: WebEnvironment) -> None:
        assert (await do(environment, "follow", "Other")).title == "Other"
        await environment._follow(f"http://rebound.test:{port}/")
        assert "rebound.test is a private address" in environment.observe().problem

    visit(f"http://name.test:{port}/", walk, private=False, resolver=resolver)
    assert site.requests == ["GET /", "GET /other"]
    assert site.headers[0]["host"] == f"name.test:{port}"
    with inside, pytest.raises(BlockingIOError):
        inside.accept()


def test_every_redirect_is_checked(url: str, site: Nasty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(EnvironmentUnreachable, match=r"127\.0\.0\.2 is a private address"):
        see(f"{url}/away?http://127.0.0.2:{url.rsplit(':', 1)[1]}/", private=False)
    assert site.requests == ["GET /away"]


def test_proxies_of_the_surroundings_are_not_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert see(url).title == "Home"
