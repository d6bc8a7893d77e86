"""The web environment against a real server on loopback that misbehaves in every way it can."""

import asyncio
import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qs

import pytest

from tests.environments import act, stored, use
from tests.servers import serve_in_thread
from understudy.domain import addresses
from understudy.domain.addresses import is_public
from understudy.domain.simulation import Action, Observation
from understudy.environments import EnvironmentUnreachable
from understudy.environments.web import WebEnvironment

T = TypeVar("T")

LINKS = [
    "/keep-post",
    "/jar",
    "/tray",
    "/loop",
    "/cut",
    "/away?gopher://x/",
    "/away?http://x:99999/",
    "/empty",
    "/silent",
    "/endless",
]
HOME = """<title>Home</title><h1>Welcome</h1><a href="/other#part">Other</a>
<form action="/sent" method="post"><label>Note <input name="note"></label>
<input type="hidden" name="h" value="1"><label>Box <input type="checkbox" name="box"></label>
<label>Pick <select name="pick"><option>a<option>b</select></label><button>Send</button></form>
<form action="/echo"><label>Word <input name="word"></label></form>
<form action="/echo"><select name="auto" onchange="this.form.submit()"><option>one<option>two</select></form>
<form action="/keep-post" method="post"><input type="hidden" name="x" value="1"><button>Keep</button></form>
""" + "".join(f"<a href='{path}'>{path}</a>" for path in LINKS)

Answer: TypeAlias = tuple[str | bytes, int, str, dict[str, str]]
HTML = "text/html; charset=utf-8"
#: path -> body, status, content type, other headers
ANSWERS: dict[str, Answer] = {
    "/": (HOME, 200, HTML, {}),
    "/other": ("<title>Other</title><a href='/'>Home</a>", 200, HTML, {}),
    "/keep-post": ("", 307, HTML, {"location": "/plain-post"}),
    "/cookie": (HOME, 200, HTML, {"set-cookie": "taste=sweet; Path=/; Max-Age=100; HttpOnly"}),
    "/jar": (HOME, 200, HTML, {"set-cookie": "big=" + "x" * 5_000}),
    "/refresh": ("<meta http-equiv=refresh content='0; url=/other'>", 200, HTML, {}),
    "/huge": ("<title>Huge</title><p>" + "word " * 1_000_000, 200, HTML, {}),
    "/bomb": (gzip.compress(b"<p>boom " + b"z" * 100_000_000, 1), 200, HTML, {"content-encoding": "gzip"}),
    "/zipped": (gzip.compress(b"<title>Zipped</title>"), 200, HTML, {"content-encoding": "gzip"}),
    "/deflated": (zlib.compress(b"<title>Deflated</title>"), 200, HTML, {"content-encoding": "deflate"}),
    "/bare": (zlib.compress(b"<title>Bare</title>", wbits=-15), 200, HTML, {"content-encoding": "deflate"}),
    "/burst": (zlib.compress(b"<p>boom " + b"z" * 100_000_000, 1), 200, HTML, {"content-encoding": "deflate"}),
    "/garbled": (b"no gzip", 200, HTML, {"content-encoding": "gzip"}),
    "/brotli": (b"\x01\x02", 200, HTML, {"content-encoding": "br"}),
    "/error": ("<title>Oops</title><a href='/'>Home</a>", 500, HTML, {}),
    "/file": (b"\x00\x01" * 1_000, 200, "application/pdf", {}),
    "/text": ("plain <b>words</b>", 200, "text/plain", {}),
    "/untyped": ("<title>Untyped</title>", 200, "", {}),
    "/meet": ("<p>all here", 200, HTML, {}),
    "/empty": ("", 204, "", {}),
    "/nul": (b"<title>N\x00ul</title><p>a\x00b &#0; &#xd800; <a href='/\x00x'>l\x00</a>", 200, HTML, {}),
    "/latin": ("<p>caf\xe9 \x80".encode("latin-1"), 200, "text/html; charset=latin-1", {}),
    "/meta": ("<meta charset=koi8-r><p>\u043f\u0440\u0438".encode("koi8-r"), 200, "text/html", {}),
    "/bad-charset": ("<p>still read é", 200, "text/html; charset=zip", {}),
    "/broken-utf": (b"<p>\xff\xfe\xfa broken \xc3", 200, HTML, {}),
}
#: `/meet` answers when it has so many visitors.
MEETING = 100
NOT_FOUND: Answer = ("<title>Not found</title><a href='/'>Home</a>", 404, HTML, {})


class Site:
    """An ASGI site that records its requests and the end of its connections."""

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
            await self._send_forever(scope["path"], receive, send)
            return
        while scope["path"] == "/meet" and self.requests.count("GET /meet") < MEETING:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
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
            case "/link":
                return f"{HOME}<a href='{query}'>there</a>", 200, HTML, {}
            case "/cut":
                return "<p>begun", 200, HTML, {"content-length": "99"}
        return ANSWERS.get(scope["path"], NOT_FOUND)

    async def _send_forever(self, path: str, receive: Any, send: Any) -> None:
        """Sends nothing or too much, until the client closes the connection."""
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
def served() -> Iterator[tuple[Site, str]]:
    site = Site()
    with serve_in_thread(site) as address:
        yield site, address


@pytest.fixture
def site(served: tuple[Site, str]) -> Site:
    served[0].__init__()  # type: ignore[misc]
    return served[0]


@pytest.fixture
def url(served: tuple[Site, str], site: Site) -> str:
    return served[1]


def visit(
    start: str | None,
    scene: Callable[[WebEnvironment], Awaitable[T]],
    *,
    private: bool = True,
    snapshot: Any = None,
    **settings: Any,
) -> T:
    """Plays the scene in an environment that begins at `start` or is restored from `snapshot`."""
    environment = WebEnvironment({"environment": "web", "url": start}, allow_private_hosts=private, **settings)
    return asyncio.run(use(environment, scene, snapshot))


async def observe(environment: WebEnvironment) -> Observation:
    stored(environment.snapshot())
    return environment.observe()


def see(start: str | None, **settings: Any) -> Observation:
    return visit(start, observe, **settings)


def test_links_forms_and_back(url: str, site: Site) -> None:
    async def scene(environment: WebEnvironment) -> None:
        seen = await act(environment, "follow", "Other")
        assert (seen.title, seen.url, seen.status) == ("Other", f"{url}/other#part", 200)
        assert (await act(environment, "back")).title == "Home"
        await act(environment, "fill", "Note", "a&b é")
        await act(environment, "check", "Box")
        seen = await act(environment, "choose", "Pick", "b")
        assert [element.value for element in seen.elements[1:4]] == ["a&b é", "on", "b"]
        seen = await act(environment, "press", "Send")
        assert (seen.title, seen.problem) == ("Echo", "")
        assert parse_qs(seen.text) == {"note": ["a&b é"], "h": ["1"], "box": ["on"], "pick": ["b"]}
        assert site.headers[-2]["referer"] == f"{url}/"
        # The answer to a form is a page of its own; going back does not send the form again.
        assert (await act(environment, "back")).title == "Home"
        assert (await act(environment, "back")).problem == "There is no page to go back to."
        assert site.requests.count("POST /sent") == 1
        await act(environment, "fill", "Word", "enter")
        assert (await act(environment, "press", "Word")).text == "word=enter"
        await act(environment, "back")
        assert (await act(environment, "choose", "auto", "two")).text == "auto=two"

    visit(url, scene)


IMPOSSIBLE = [
    *(Action("follow", 99), Action("follow", None), Action("fill", 1, value="x"), Action("choose", 4, value="z")),
    *(Action("press", 1), Action("dance", 1)),
]


@pytest.mark.parametrize("action", [*IMPOSSIBLE, Action("wait"), Action("finish"), Action("give_up")], ids=str)
def test_actions_without_a_page_change_nothing_and_impossible_ones_are_a_problem(
    url: str, site: Site, action: Action
) -> None:
    async def scene(environment: WebEnvironment) -> None:
        before = environment.observe()
        await environment.act(action)
        seen = environment.observe()
        assert bool(seen.problem) == (action in IMPOSSIBLE)
        assert replace(seen, problem="") == before

    visit(url, scene)
    assert site.requests == ["GET /"]


def test_going_back_never_repeats_a_post(url: str, site: Site) -> None:
    async def scene(environment: WebEnvironment) -> None:
        assert (await act(environment, "press", "Keep")).title == "Got POST"
        await act(environment, "follow", "Other")
        assert (await act(environment, "back")).title == "Home"

    visit(url, scene)
    assert site.requests == ["GET /", "POST /keep-post", "POST /plain-post", "GET /other", "GET /"]
    assert site.bodies[1:3] == [b"x=1", b"x=1"]


def test_snapshot_restores_everything_and_sends_nothing(url: str, site: Site) -> None:
    async def scene(environment: WebEnvironment) -> tuple[dict[str, Any], Observation]:
        await act(environment, "follow", "Other")
        await act(environment, "follow", "Home")
        await act(environment, "fill", "Note", "half done")
        await act(environment, "check", "Box")
        await act(environment, "choose", "Pick", "b")
        await environment.act(Action("follow", 99))
        return stored(environment.snapshot()), environment.observe()

    snapshot, seen = visit(f"{url}/cookie", scene)
    count = len(site.requests)

    async def resumed(environment: WebEnvironment) -> dict[str, Any]:
        assert environment.observe() == seen
        assert stored(environment.snapshot()) == snapshot
        assert len(site.requests) == count
        assert parse_qs((await act(environment, "press", "Send")).text)["note"] == ["half done"]
        after_form = stored(environment.snapshot())
        assert (await act(environment, "back")).title == "Home"
        assert (await act(environment, "follow", "/tray")).text == "cookies: taste=sweet"
        await act(environment, "back")
        assert (await act(environment, "back")).title == "Other"
        return after_form

    after_form = visit("http://unused.test/", resumed, snapshot=snapshot)
    count = len(site.requests)

    # The answer to a form is restored without sending the form again.
    assert visit(url, observe, snapshot=after_form).title == "Echo"
    assert len(site.requests) == count


def test_each_participant_has_its_own_cookies(url: str) -> None:
    async def scene(environment: WebEnvironment) -> str:
        await act(environment, "follow", "/jar")
        return (await act(environment, "follow", "/tray")).text

    assert visit(f"{url}/cookie", scene) == "cookies: taste=sweet"
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
        *((path, 200, "", "") for path in ("/zipped", "/deflated", "/bare")),
        ("/refresh", 200, "", "Home"),
        ("/latin", 200, "", "café €"),
        ("/meta", 200, "", "при"),
        ("/bad-charset", 200, "", "still read é"),
        ("/broken-utf", 200, "", "\ufffd\ufffd\ufffd broken \ufffd"),
    ],
)
def test_every_answer_is_a_page(url: str, path: str, status: int, problem: str, text: str) -> None:
    seen = see(url + path)
    assert (seen.status, seen.text, bool(seen.problem)) == (status, text, bool(problem))
    assert problem in seen.problem


def test_long_and_endless_pages_are_read_in_part(url: str, site: Site) -> None:
    assert len(see(f"{url}/huge").text) <= 20_000
    assert see(f"{url}/flood").text.startswith("flood flood")
    assert site.dropped.wait(10)


@pytest.mark.parametrize("path", ["/bomb", "/burst"])
def test_compressed_page_is_unpacked_in_part(url: str, path: str) -> None:
    tracemalloc.start()
    try:
        assert see(f"{url}{path}").text.startswith("boom zzz")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000


def test_characters_that_no_store_accepts_are_removed(url: str) -> None:
    seen = see(f"{url}/nul")
    assert (seen.title, seen.text) == ("Nul", "ab \ufffd \ufffd l")
    assert "\x00" not in str(seen)


@pytest.mark.parametrize(
    ("start", "problem"),
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
def test_start_page_that_cannot_be_opened_is_unreachable(url: str, start: str | None, problem: str) -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError(f"{host}:{port} is not known")

    address = start.format(url=url, port=url.rsplit(":", 1)[1]) if start else start
    with pytest.raises(EnvironmentUnreachable, match=problem):
        see(address, resolver=nowhere)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/loop", "circles"),
        ("/cut", "broke off"),
        ("/away?gopher://x/", "not one of"),
        ("/away?http://x:99999/", "no sense"),
    ],
)
def test_later_page_that_cannot_be_opened_is_an_empty_page(url: str, path: str, problem: str) -> None:
    async def scene(environment: WebEnvironment) -> None:
        seen = await act(environment, "follow", path)
        assert problem in seen.problem
        assert (seen.status, seen.elements, seen.text) == (None, (), "")
        stored(environment.snapshot())
        assert (await act(environment, "back")).title == "Home"

    visit(url, scene)


def test_answer_without_a_page_stays_on_the_page(url: str) -> None:
    async def scene(environment: WebEnvironment) -> None:
        seen = await act(environment, "follow", "/empty")
        assert (seen.title, seen.problem) == ("Home", "Nothing happened.")

    visit(url, scene)


@pytest.mark.parametrize("path", ["/silent", "/endless"])
def test_aborted_step_closes_its_connection_at_once(url: str, site: Site, path: str) -> None:
    async def scene(environment: WebEnvironment) -> None:
        before = environment.snapshot()
        step = asyncio.create_task(act(environment, "follow", path))
        assert await asyncio.to_thread(site.hung.wait, 10)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        # Before `close`: the abort closes the connection.
        assert await asyncio.to_thread(site.dropped.wait, 10)
        assert environment.snapshot() == before
        assert (await act(environment, "follow", "Other")).title == "Other"

    visit(url, scene)


def test_aborted_tls_handshake_closes_its_connection_at_once() -> None:
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


@pytest.mark.parametrize(
    ("kind", "label", "count", "problem"), [("follow", "Again", 3, ""), ("press", "Send", 2, "broke off")]
)
def test_connection_that_the_server_closed_is_replaced_but_no_form_is_sent_twice(
    kind: str, label: str, count: int, problem: str
) -> None:
    page = b"<a href=/>Again</a><form method=post><button>Send</button></form>"
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The second request comes on the connection of the first and gets no answer.
        for _ in range(2):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if len(requests) == 2:
                break
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(page) + page)
            if len(requests) > 2:
                break
        writer.close()

    async def scene() -> Observation:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            environment = WebEnvironment({"url": address}, allow_private_hosts=True)
            return await use(environment, lambda opened: act(opened, kind, label))

    seen = asyncio.run(scene())
    assert (len(requests), bool(seen.problem)) == (count, bool(problem))
    assert problem in seen.problem


def test_a_hundred_visits_do_not_wait_for_each_other(url: str) -> None:
    async def scene() -> list[Observation]:
        visits = [WebEnvironment({"url": f"{url}/meet"}, allow_private_hosts=True) for _ in range(MEETING)]
        return await asyncio.gather(*(use(one, observe) for one in visits))

    assert {seen.text for seen in asyncio.run(scene())} == {"all here"}


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
def test_address_is_public_only_if_the_internet_reaches_it(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "[::1]", "[::ffff:7f00:1]", "0"]
)
def test_private_host_in_any_notation_is_refused(url: str, site: Site, host: str) -> None:
    with pytest.raises(EnvironmentUnreachable, match=r"no site at|no sense"):
        see(f"http://{host}:{url.rsplit(':', 1)[1]}/", private=False)
    assert site.requests == []


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254"])
def test_metadata_address_is_refused_although_private_hosts_are_allowed(address: str) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return [address]

    with pytest.raises(EnvironmentUnreachable, match=r"inside\.test is unknown, or it has a private"):
        see("http://inside.test/", private=True, resolver=resolver)


@pytest.mark.parametrize("private", [["127.0.0.1"], ["::1", "10.0.0.1"], ["169.254.169.254"]])
def test_name_of_private_addresses_is_refused(url: str, site: Site, private: list[str]) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return private

    with pytest.raises(EnvironmentUnreachable, match=r"public\.test is unknown, or it has a private"):
        see(f"http://public.test:{url.rsplit(':', 1)[1]}/", private=False, resolver=resolver)
    assert site.requests == []


def test_environment_connects_to_the_address_that_it_checked(
    url: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look-up per connection: at the second call, this resolver returns another address."""
    monkeypatch.setattr(addresses, "is_public_ip", lambda ip: str(ip) == "127.0.0.1")
    answers = iter([["127.0.0.9", "127.0.0.1"], ["127.0.0.9"]])
    port = url.rsplit(":", 1)[1]
    inside = socket.create_server(("127.0.0.9", int(port)))
    inside.setblocking(False)

    async def resolver(host: str, port: int) -> list[str]:
        return next(answers)

    async def scene(environment: WebEnvironment) -> None:
        assert (await act(environment, "follow", "Other")).title == "Other"
        await act(environment, "back")
        assert (
            "rebound.test is unknown, or it has a private address"
            in (await act(environment, "follow", "there")).problem
        )

    visit(f"http://name.test:{port}/link?http://rebound.test:{port}/", scene, private=False, resolver=resolver)
    assert site.requests == ["GET /link", "GET /other", "GET /link"]
    assert site.headers[0]["host"] == f"name.test:{port}"
    with inside, pytest.raises(BlockingIOError):
        inside.accept()


def test_every_redirect_is_checked(url: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "is_public_ip", lambda ip: str(ip) == "127.0.0.1")
    with pytest.raises(EnvironmentUnreachable, match=r"127\.0\.0\.2 is unknown, or it has a private"):
        see(f"{url}/away?http://127.0.0.2:{url.rsplit(':', 1)[1]}/", private=False)
    assert site.requests == ["GET /away"]


def test_proxies_in_environment_variables_are_not_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert see(url).title == "Home"
