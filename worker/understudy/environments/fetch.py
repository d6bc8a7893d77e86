"""Fetching: make a request, follow its redirects, and read the page that a person then sees."""

import asyncio
import contextlib
import re
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import cast
from urllib.parse import urljoin

import httpx

from understudy.domain.accessibility import AccessibilityNeeds
from understudy.domain.addresses import AllowedAddresses
from understudy.domain.userinfo import without_userinfo
from understudy.environments.cookies import Cookies
from understudy.environments.forms import PageRequest
from understudy.environments.guarded_transport import GuardedTransport, HostNotFound, Resolver
from understudy.environments.navigation import Navigation
from understudy.environments.page import Page, clean
from understudy.environments.page_lanes import LaneUser, PageSource, TooCostly, page_lanes
from understudy.environments.refresh import refresh_url
from understudy.isolation import OwnFailure
from understudy.isolation.resolver import resolve
from understudy.plugins.time_limits import current_timer

#: As browsers follow.
MAX_REDIRECTS = 20
MAX_BYTES = 1 << 20
_URL_CHARS = 4_096
#: Seconds for a page with all its redirects, and for each part of it. Reading the page has limits of its own.
_PAGE_TIMEOUT_S = 45.0
#: Seconds until a start page that we could not open is tried again.
_OWN_FAILURE_PAUSE_S = 1.0
_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_CONNECTION_LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; Understudy/0.1; simulated participant)",
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.5",
    # Only encodings that can be unpacked in bounded pieces.
    "Accept-Encoding": "gzip, deflate",
}
#: Headers by which sites with pages for phones recognise a phone.
_MOBILE_HEADERS = {
    "User-Agent": "Mozilla/5.0 (Linux; Android 14; Mobile; Understudy/0.1; simulated participant)",
    "Sec-CH-UA-Mobile": "?1",
    "Sec-CH-Viewport-Width": "390",
}
_NO_CONTENT = (204, 205)
_XHTML_TYPE = "application/xhtml+xml"
_HTML_TYPES = frozenset(("text/html", _XHTML_TYPE, ""))
_TEXT_TYPES = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml)$")


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of a request after its redirects."""

    url: str
    #: None if the response contains nothing to show.
    page: Page | None = None
    status: int | None = None
    problem: str = ""
    #: The page answers a POST, which must not be repeated: `back` skips it.
    answers_post: bool = False
    #: The site answered 204 or 205: the current page stays.
    stays: bool = False
    #: The problem is ours, and nothing was sent: the same request may succeed later.
    is_ours: bool = False


class HttpSession:
    """One participant's HTTP session, with its own connections and cookies, which begins at the URL `start`.

    The user and password of `start` go to its origin only; those of other URLs are ignored, as sites choose them.
    """

    def __init__(
        self,
        *,
        addresses: AllowedAddresses,
        start: str,
        resolver: Resolver = resolve,
        access: AccessibilityNeeds | None = None,
        languages: str = "en",
    ) -> None:
        access = access or AccessibilityNeeds()
        headers = _HEADERS | {"Accept-Language": languages} | (_MOBILE_HEADERS if access.small_viewport else {})
        self._with_places = access.visible_chars is not None
        self._lane_user = LaneUser()
        self._transport = GuardedTransport(addresses=addresses, start=start, resolver=resolver)
        self._login = _login(start)
        self._client = httpx.AsyncClient(
            transport=self._transport,
            trust_env=False,
            follow_redirects=False,
            timeout=_TIMEOUT,
            headers=headers,
            # Ours are kept apart: those of httpx accept what browsers drop, and a bad one breaks each later request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        self.cookies = Cookies()

    @property
    def from_public(self) -> bool | None:
        """Returns whether the start page is public; None before the first connection."""
        return self._transport.from_public

    def resume(self, from_public: bool | None) -> None:
        """Continues a session whose start page had this kind; None: an earlier version did not store it."""
        self._transport.from_public = from_public

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch(self, visit: PageRequest, referrer: str = "") -> FetchResult:
        """Makes the request and follows redirects. Raises nothing; cancellation closes the connection."""
        deadline = asyncio.get_running_loop().time() + _PAGE_TIMEOUT_S
        visit = replace(visit, url=without_userinfo(visit.url))
        navigation = Navigation(without_userinfo(referrer))
        for _ in range(MAX_REDIRECTS + 1):
            try:
                result, following = await self._fetch_once(visit, navigation, deadline)
            except OwnFailure as error:
                return FetchResult(visit.url, problem=f"This can't be opened just now: {error}.", is_ours=True)
            except httpx.PoolTimeout:
                return FetchResult(visit.url, problem="This can't be opened just now.", is_ours=True)
            except TimeoutError:
                if self._transport.waits_for_us:
                    return FetchResult(visit.url, problem="The address could not be looked up in time.", is_ours=True)
                return FetchResult(visit.url, problem="The site took too long to answer.")
            # TLS errors during the answer are OSErrors, and some of these are also ValueErrors.
            except (httpx.HTTPError, OSError) as error:
                return FetchResult(visit.url, problem=_error_text(error))
            except (httpx.InvalidURL, ValueError):
                return FetchResult(visit.url, problem="This address makes no sense.")
            if following is None:
                return result
            visit, navigation = following
        return FetchResult(visit.url, problem="The site sends me round in circles: too many redirects.")

    async def fetch_when_possible(self, visit: PageRequest) -> FetchResult:
        """Fetches until no failure of our own prevents it; the step's time limit ends the attempts."""
        while True:
            result = await self.fetch(visit)
            current_timer().delayed_by = result.problem if result.is_ours else ""
            if not result.is_ours:
                return result
            await asyncio.sleep(_OWN_FAILURE_PAUSE_S)

    async def _fetch_once(
        self, visit: PageRequest, navigation: Navigation, deadline: float
    ) -> tuple[FetchResult, tuple[PageRequest, Navigation] | None]:
        """Returns the result, and the request that the site asks for instead, if any."""
        url = httpx.URL(visit.url.split("#", 1)[0])
        if url.scheme not in ("http", "https") or not url.host or len(visit.url) > _URL_CHARS:
            return FetchResult(visit.url, problem="This address is not one of a web page."), None
        async with asyncio.timeout_at(deadline):
            response = await self._send(self._request(visit, url, navigation))
            try:
                set_cookies = [value for name, value in response.headers.raw if name.lower() == b"set-cookie"]
                self.cookies.store(visit.url, set_cookies)
                redirect = _redirect(visit, response)
                if redirect is not None:
                    return FetchResult(visit.url), (redirect, navigation.redirected(visit.url))
                body = await read_body(response) if _has_page(response) else b""
            finally:
                # Closes the connection unless the body was read to its end.
                await response.aclose()
        result = await self._read_response(visit, response, body)
        refresh = result.page.refresh if result.page else ""
        refresh = refresh or refresh_url(response.headers.get("refresh", ""), visit.url)
        if refresh not in ("", result.url):
            return result, (PageRequest(refresh), Navigation(result.url, by_person=False))
        return result, None

    def _request(self, visit: PageRequest, url: httpx.URL, navigation: Navigation) -> httpx.Request:
        headers = navigation.headers(visit.url, visit.method)
        if visit.content_type:
            headers["Content-Type"] = visit.content_type
        cross_site, safe = navigation.is_cross_site(visit.url), visit.method == "GET"
        if cookies := self.cookies.header(visit.url, cross_site=cross_site, safe=safe):
            headers["Cookie"] = cookies
        # Latin-1: cookies go back as the bytes that the site sent.
        fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        return self._client.build_request(visit.method, url, content=visit.body, headers=fields)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        auth = self._login.get(_origin(request.url))
        try:
            return await self._client.send(request, stream=True, auth=auth)
        except _CONNECTION_LOST:
            if request.method != "GET":
                # The server may have processed the request.
                raise
            # The server may have closed an idle connection before it read the request: retry.
            return await self._client.send(request, stream=True, auth=auth)

    async def _read_response(self, visit: PageRequest, response: httpx.Response, body: bytes | None) -> FetchResult:
        status = response.status_code
        posted = visit.method != "GET"
        if status in _NO_CONTENT:
            return FetchResult(visit.url, status=status, problem="Nothing happened.", stays=True)
        content_type, parameters = _content_type(response)
        if not _is_readable(content_type):
            problem = f"This is not a page but a file ({clean(content_type)[:80]})."
            return FetchResult(visit.url, Page(), status, problem, posted)
        problem = ""
        if status >= 400:
            problem = f"The site answers with an error: {status} {clean(response.reason_phrase)[:80]}".rstrip() + "."
        if body is None:
            return FetchResult(visit.url, Page(), status, "The page can't be read: it arrives garbled.", posted)
        source = PageSource(
            visit.url,
            parameters,
            content_type in _HTML_TYPES,
            self._with_places,
            is_xml=content_type == _XHTML_TYPE,
            cut=len(body) >= MAX_BYTES,
        )
        try:
            page = await page_lanes.get().read(source, body, self._lane_user)
        except TooCostly:
            return FetchResult(visit.url, Page(), status, "The page is too complex to be read.", posted)
        return FetchResult(visit.url, page, status, problem, posted)


def _login(start: str) -> dict[tuple[str, str, int | None], httpx.Auth]:
    """Returns the origin of the start page with the user and password of its URL; empty without these."""
    try:
        url = httpx.URL(start)
    except (httpx.InvalidURL, ValueError):
        return {}
    return {_origin(url): httpx.BasicAuth(url.username, url.password)} if url.userinfo else {}


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _content_type(response: httpx.Response) -> tuple[str, str]:
    """Returns the type in lower case, and its parameters."""
    content_type, _, parameters = response.headers.get("content-type", "").partition(";")
    return content_type.strip().lower(), parameters


def _is_readable(content_type: str) -> bool:
    return content_type in _HTML_TYPES or _TEXT_TYPES.match(content_type) is not None


def _has_page(response: httpx.Response) -> bool:
    """Returns whether the body contains something to show."""
    return response.status_code not in _NO_CONTENT and _is_readable(_content_type(response)[0])


def _redirect(visit: PageRequest, response: httpx.Response) -> PageRequest | None:
    location = response.headers.get("location", "")
    if response.status_code not in (301, 302, 303, 307, 308) or not location:
        return None
    url = without_userinfo(urljoin(visit.url, clean(location.strip())))
    if "#" not in url and "#" in visit.url:
        url += visit.url[visit.url.index("#") :]
    if response.status_code in (307, 308):
        return PageRequest(url, visit.method, visit.body, visit.content_type)
    return PageRequest(url)


async def read_body(response: httpx.Response) -> bytes | None:
    """Returns the unpacked body, truncated to MAX_BYTES; None if it can't be unpacked."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate", ""):
        return None
    unpack = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    parts: list[bytes] = []
    remaining = MAX_BYTES
    raw = cast("AsyncGenerator[bytes]", response.aiter_raw())
    async with contextlib.aclosing(raw) as chunks:
        async for chunk in chunks:
            if encoding == "deflate" and unpack is None:
                # Some servers leave out the two bytes that the standard asks for.
                unpack = zlib.decompressobj(wbits=15 if chunk[0] & 0x0F == zlib.DEFLATED else -15)
            try:
                # A kilobyte can unpack to a megabyte: limit the output of each step.
                part = unpack.decompress(chunk, remaining) if unpack else chunk[:remaining]
            except zlib.error:
                return b"".join(parts) if parts else None
            parts.append(part)
            remaining -= len(part)
            if remaining <= 0:
                break
    return b"".join(parts)


def _error_text(error: Exception) -> str:
    """Describes the error in the words of a person."""
    if isinstance(error, HostNotFound):
        return f"There is no site at this address: {error}."
    if isinstance(error, httpx.TimeoutException):
        return "The site took too long to answer."
    if isinstance(error, httpx.ConnectError):
        if "SSL" in str(error) or "ertificate" in str(error):
            return f"The connection to the site is not secure: {clean(str(error))[:200]}."
        return "The site could not be reached."
    return "The site broke off in the middle of its answer."
