"""Fetching: make a request, follow its redirects, and read the page that a person then sees."""

import asyncio
import codecs
import contextlib
import re
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import cast
from urllib.parse import urljoin, urlsplit

import httpx

from understudy.domain.accessibility import AccessibilityNeeds
from understudy.environments import cookie_snapshot
from understudy.environments.forms import PageRequest
from understudy.environments.guarded_transport import AddressBlocked, GuardedTransport, HostNotFound, Resolver, resolve
from understudy.environments.html_sanitizer import is_small
from understudy.environments.page import Page, clean
from understudy.environments.reader import read_html, read_text

MAX_REDIRECTS = 10
MAX_BYTES = 1 << 20
_URL_CHARS = 4_096
#: Timeouts between bytes; the step timeout bounds the whole request.
_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_CONNECTION_LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; Understudy/0.1; simulated participant)",
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.5",
    # Only an encoding that can be unpacked in bounded pieces.
    "Accept-Encoding": "gzip",
    "Accept-Language": "en;q=0.9,*;q=0.5",
}
#: Headers by which sites with pages for phones recognise a phone.
_MOBILE_HEADERS = {
    "User-Agent": "Mozilla/5.0 (Linux; Android 14; Mobile; Understudy/0.1; simulated participant)",
    "Sec-CH-UA-Mobile": "?1",
    "Sec-CH-Viewport-Width": "390",
}
_HTML_TYPES = frozenset(("text/html", "application/xhtml+xml", ""))
_TEXT_TYPES = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml)$")
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
#: The encodings of the web. Others that Python knows are not text encodings, or are very slow.
_WEB_CODECS = re.compile(
    r"utf-8|utf-16(?:-[bl]e)?|ascii|iso8859-\d+|cp125\d|cp866|cp874|cp932|cp949|koi8-[ru]|gb2312|gbk|gb18030|big5|"
    r"big5hkscs|euc_jp|euc_kr|shift_jis|iso2022_jp|mac-roman|mac-cyrillic|tis-620"
)


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


class HttpSession:
    """One participant's HTTP session, with its own connections and cookies."""

    def __init__(
        self,
        *,
        allow_private_hosts: bool,
        resolver: Resolver = resolve,
        access: AccessibilityNeeds | None = None,
    ) -> None:
        access = access or AccessibilityNeeds()
        self._with_places = access.visible_chars is not None
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(allow_private_hosts=allow_private_hosts, resolver=resolver),
            trust_env=False,
            follow_redirects=False,
            timeout=_TIMEOUT,
            headers=_HEADERS | (_MOBILE_HEADERS if access.small_viewport else {}),
        )
        self.jar = self._client.cookies.jar

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch(self, visit: PageRequest, referrer: str = "") -> FetchResult:
        """Makes the request and follows redirects. Raises nothing; cancellation closes the connection."""
        for _ in range(MAX_REDIRECTS + 1):
            try:
                result, next_request = await self._fetch_once(visit, referrer)
            # TLS errors during the answer are OSErrors, and some of these are also ValueErrors.
            except (httpx.HTTPError, OSError) as error:
                return FetchResult(visit.url, problem=_error_text(error))
            except (httpx.InvalidURL, ValueError):
                return FetchResult(visit.url, problem="This address makes no sense.")
            if next_request is None:
                return result
            visit = next_request
        return FetchResult(visit.url, problem="The site sends me round in circles: too many redirects.")

    async def _fetch_once(self, visit: PageRequest, referrer: str) -> tuple[FetchResult, PageRequest | None]:
        url = httpx.URL(visit.url.split("#", 1)[0])
        if url.scheme not in ("http", "https") or not url.host or len(visit.url) > _URL_CHARS:
            return FetchResult(visit.url, problem="This address is not one of a web page."), None
        headers = {}
        if visit.content_type:
            headers["Content-Type"] = visit.content_type
        if referrer and "@" not in referrer and urlsplit(referrer)[:2] == urlsplit(visit.url)[:2]:
            headers["Referer"] = referrer.split("#", 1)[0].encode("ascii", "ignore").decode()
        request = self._client.build_request(visit.method, url, content=visit.body, headers=headers)
        try:
            response = await self._client.send(request, stream=True)
        except _CONNECTION_LOST:
            if visit.method != "GET":
                # The server may have processed the request.
                raise
            # The server may have closed an idle connection before it read the request: retry.
            response = await self._client.send(request, stream=True)
        try:
            cookie_snapshot.bound(self.jar)
            next_request = _redirect(visit, response)
            if next_request is not None:
                return FetchResult(visit.url), next_request
            result = await self._read_response(visit, response)
        finally:
            # Closes the connection unless the body was read to its end.
            await response.aclose()
        if result.page is not None and result.page.refresh not in ("", result.url):
            return result, PageRequest(result.page.refresh)
        return result, None

    async def _read_response(self, visit: PageRequest, response: httpx.Response) -> FetchResult:
        status = response.status_code
        posted = visit.method != "GET"
        if status in (204, 205):
            return FetchResult(visit.url, status=status, problem="Nothing happened.", stays=True)
        content_type, _, parameters = response.headers.get("content-type", "").partition(";")
        content_type = content_type.strip().lower()
        is_html = content_type in _HTML_TYPES
        if not is_html and not _TEXT_TYPES.match(content_type):
            problem = f"This is not a page but a file ({clean(content_type)[:80]})."
            return FetchResult(visit.url, Page(), status, problem, posted)
        problem = ""
        if status >= 400:
            problem = f"The site answers with an error: {status} {clean(response.reason_phrase)[:80]}".rstrip() + "."
        body = await read_body(response)
        if body is None:
            return FetchResult(visit.url, Page(), status, "The page can't be read: it arrives garbled.", posted)
        text = _decode(body, parameters)
        if not is_html:
            page = read_text(text)
        elif is_small(text):
            page = read_html(text, visit.url, with_places=self._with_places)
        else:
            # A long page takes long to parse: do not block the event loop.
            page = await asyncio.to_thread(read_html, text, visit.url, with_places=self._with_places)
        return FetchResult(visit.url, page, status, problem, posted)


def _redirect(visit: PageRequest, response: httpx.Response) -> PageRequest | None:
    location = response.headers.get("location", "")
    if response.status_code not in (301, 302, 303, 307, 308) or not location:
        return None
    url = urljoin(visit.url, clean(location.strip()))
    if "#" not in url and "#" in visit.url:
        url += visit.url[visit.url.index("#") :]
    if response.status_code in (307, 308):
        return PageRequest(url, visit.method, visit.body, visit.content_type)
    return PageRequest(url)


async def read_body(response: httpx.Response) -> bytes | None:
    """Returns the unpacked body, truncated to MAX_BYTES; None if it can't be unpacked."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        return None
    unpack = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    parts: list[bytes] = []
    remaining = MAX_BYTES
    raw = cast("AsyncGenerator[bytes]", response.aiter_raw())
    async with contextlib.aclosing(raw) as chunks:
        async for chunk in chunks:
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


def _decode(body: bytes, parameters: str) -> str:
    if body.startswith(codecs.BOM_UTF8):
        return body.decode("utf-8-sig", "replace")
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace")
    declared = re.search(r"charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", parameters, re.IGNORECASE)
    if declared:
        return body.decode(_codec(declared[1]), "replace")
    in_body = _CHARSET.search(body, 0, 2_048)
    name = _codec(in_body[1].decode("ascii")) if in_body else "utf-8"
    # The declaration was readable as ASCII, so the page is not UTF-16, even if it says so.
    return body.decode("utf-8" if name.startswith("utf-16") else name, "replace")


def _codec(name: str) -> str:
    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        return "utf-8"
    if known in ("ascii", "iso8859-1"):
        # As browsers do: pages that declare Latin-1 use Windows-1252.
        return "cp1252"
    return known if _WEB_CODECS.fullmatch(known) else "utf-8"


def _error_text(error: Exception) -> str:
    """Describes the error in the words of a person."""
    if isinstance(error, AddressBlocked):
        return f"This address must not be visited: {error}."
    if isinstance(error, HostNotFound):
        return f"There is no site at this address: {error}."
    if isinstance(error, httpx.TimeoutException):
        return "The site took too long to answer."
    if isinstance(error, httpx.ConnectError):
        if "SSL" in str(error) or "ertificate" in str(error):
            return f"The connection to the site is not secure: {clean(str(error))[:200]}."
        return "The site could not be reached."
    return "The site broke off in the middle of its answer."
