"""A visit sends the cookies and headers that Chromium sends."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from tests import chromium
from tests.environments import act
from tests.servers import serve_in_thread
from understudy.domain.simulation import Person
from understudy.environments.web import WebEnvironment

COOKIES = [
    *(b"a=Jos\xc3\xa9", b"b=ok", b"c=\x01", b"d=1; Secure", b"__Host-e=1; Secure; Path=/", b"f=1; SameSite=Strict"),
    *(
        b"g=1; Domain=127.0.0.1",
        b"h",
        b'i="quoted;x"',
        b"j=1; Max-Age=-1",
        b"k=1; Max-Age=abc",
        b"l=a b",
        b"w=\xff\xfe",
    ),
    *(
        b"m=1; Path=/x",
        b"__Secure-o=1",
        b"p=1; domain=example.com",
        b"__host-r=1; Secure",
        b"=__Host-s=1; Secure; Path=/",
    ),
    *(b"q=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT", b"k=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", b"t=1; Path=rel"),
    *(b"u=1; SameSite=None", b"v=1; SameSite=None; Secure", b'x="a, b"', b"y=1;Path=/;Path=/zz", b"z="),
]
ACTIONS = [
    *(("follow", name) for name in ("link", "redirect", "other", "away", "slash", "refresh", "query")),
    *(("press", name) for name in ("sent", "kept", "foreign")),
]
#: Headers of the browser or of the connection, not of the visit. A browser under test asks in one language only.
_NOT_COMPARED = {"host", "connection", "user-agent", "accept", "accept-encoding", "accept-language", "content-length"}


class Site:
    """An ASGI site that keeps the headers of the first request for each address."""

    def __init__(self) -> None:
        self.other = ""
        self.seen: dict[str, dict[str, bytes]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        path, query = scope["path"], scope["query_string"].decode()
        headers = {name.decode(): value for name, value in scope["headers"]}
        kept = {k: v for k, v in headers.items() if k not in _NOT_COMPARED and not k.startswith(("sec-ch-", "cache-"))}
        if path != "/favicon.ico":
            self.seen.setdefault(f"{scope['method']} {path}?{query}", kept)
        status, more = self._answer(path)
        start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html"), *more]}
        await send(start)
        await send({"type": "http.response.body", "body": self._page().encode()})

    def _answer(self, path: str) -> tuple[int, list[tuple[bytes, bytes]]]:
        match path:
            case "/":
                return 200, [(b"set-cookie", cookie) for cookie in COOKIES]
            case "/redirect":
                return 302, [(b"location", b"/arrived")]
            case "/away":
                return 302, [(b"location", f"{self.other}/arrived-away".encode())]
            case "/kept":
                return 307, [(b"location", b"/kept-arrived")]
            case "/refresh":
                return 200, [(b"refresh", b"0; url=/refreshed")]
        return 200, []

    def _page(self) -> str:
        links = {name: f"/{name}" for name in ("link", "redirect", "away", "refresh")}
        links |= {"other": f"{self.other}/other", "slash": "\\back\\slash", "query": "?"}
        forms = {"sent": "/sent", "kept": "/kept", "foreign": f"{self.other}/foreign"}
        return "".join(
            [
                *(f"<a href='{url}'>{name}</a> " for name, url in links.items()),
                *(f"<form method=post action='{url}'><button>{name}</button></form>" for name, url in forms.items()),
            ]
        )


@pytest.fixture
def sites() -> Iterator[tuple[str, Site]]:
    """The address of a site, and the site, which knows itself by another name on another port, too."""
    site = Site()
    with ExitStack() as held:
        url, other = (held.enter_context(serve_in_thread(site)) for _ in range(2))
        site.other = other.replace("127.0.0.1", "localhost")
        yield f"{url}/", site


async def visit(url: str) -> None:
    person = Person(name="Ada", age=40, country="AT", language="de", traits={}, bio="")
    for kind, name in ACTIONS:
        environment = WebEnvironment({"url": url}, allow_private_hosts=True, person=person)
        await environment.open()
        assert (await act(environment, kind, name)).problem == ""
        await environment.close()


def browse(url: str) -> None:
    program = chromium.find_chromium()
    if program is None:
        pytest.skip(chromium.SKIP_REASON)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, env=chromium.environment(), args=chromium.ARGUMENTS
        )
        for _, name in ACTIONS:
            context = browser.new_context()
            page = context.new_page()
            page.goto(url)
            page.get_by_text(name, exact=True).click()
            page.wait_for_load_state("networkidle")
            context.close()
        browser.close()


def test_a_visit_sends_what_chromium_sends(sites: tuple[str, Site]) -> None:
    url, site = sites
    asyncio.run(visit(url))
    ours, site.seen = site.seen, {}
    browse(url)
    assert ours == site.seen
    assert len(ours) == 14
    assert ours["GET /link?"]["cookie"].startswith(b"a=Jos\xc3\xa9; b=ok; d=1; __Host-e=1; f=1; g=1;")


def test_the_languages_are_those_of_the_person(sites: tuple[str, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_NOT_COMPARED", set())
    asyncio.run(visit(sites[0]))
    assert sites[1].seen["GET /link?"]["accept-language"] == b"de-AT,de;q=0.9,en;q=0.8"
