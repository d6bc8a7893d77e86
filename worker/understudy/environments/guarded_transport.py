"""Transport: HTTP connections that reach only permitted addresses.

The check runs after name resolution: it connects only to the addresses that it has checked, so a name that
later resolves to another address (DNS rebinding) has no effect. URL, `Host` and the name in the certificate
stay unchanged.

A private address needs a start page that is private too: no site leads a participant inside. The look-up of the start
page's host decides its kind once, before the first connection; a resumed run takes it from its snapshot.

One TLS context serves the whole process, because loading certificates is slow. Each participant has its own
connection pool: one pool for 300 participants used 45 s of processor time where 300 pools used 10 s (httpcore
1.0 scans all connections several times per request). An own pool also closes every socket with its
participant.
"""

import asyncio
import errno
import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import httpcore
import httpx

from understudy.domain.addresses import AllowedAddresses, has_public
from understudy.isolation import OwnFailure
from understudy.isolation.resolver import resolve

#: Returns the addresses of a host and port. Raises OSError; socket.gaierror with EAI_AGAIN if it got no answer.
Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]

#: Seconds in which a connection is tried again while we lack something for it; pauses grow up to the longest.
_OWN_FAILURE_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
#: No descriptor, memory or local port is left: nothing that the site could change.
_OWN_ERRNOS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
#: Maximum time for one of several addresses, so that an unreachable one leaves time for the next.
_ATTEMPT_TIMEOUT_S = 5.0
_MAX_ADDRESSES = 6


class HostNotFound(httpx.ConnectError):
    """The host has no address to which the participant may connect, or none at all.

    One error for both: callers must not learn which names and addresses exist inside.
    """

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is unknown, or it has a private address that must not be visited from here")


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Returns the TLS context of the process. The first call takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to permitted addresses only; `start` is the URL at which the participant begins."""

    def __init__(self, *, addresses: AllowedAddresses, start: str, resolver: Resolver = resolve) -> None:
        self._allowed = addresses
        self._start_host = _host(start)
        #: Whether the start page is public; None until its host is looked up.
        self.from_public: bool | None = None
        self._resolve = resolver
        self._inner = httpcore.AnyIOBackend()
        #: We look up a name, or lack something for a connection. Stays true if the request is cancelled meanwhile:
        #: a timeout is not the site's fault then.
        self.waits_for_us = False

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects. Raises OwnFailure if, for _OWN_FAILURE_S, no name server answers or we lack a descriptor."""
        deadline = time.monotonic() + _OWN_FAILURE_S
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await self._connect(host, port, timeout, local_address, socket_options)
            except OwnFailure:
                if time.monotonic() + pause_s > deadline:
                    raise
            self.waits_for_us = True
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _connect(
        self,
        host: str,
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[Any] | None,
    ) -> httpcore.AsyncNetworkStream:
        found = await self._addresses(host, port)
        if self.from_public is None:
            self.from_public = await self._is_start_public(host, port, found)
        self.waits_for_us = False
        addresses = [address for address in found if self._allowed.permit(address, from_public=self.from_public)]
        failure: Exception = HostNotFound(host)
        for address in addresses[:_MAX_ADDRESSES]:
            limit = timeout if len(addresses) == 1 else min(timeout or _ATTEMPT_TIMEOUT_S, _ATTEMPT_TIMEOUT_S)
            try:
                stream = await self._inner.connect_tcp(address, port, limit, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                if ours := _own_error(error):
                    raise OwnFailure(f"no connection can be made ({ours})") from error
                failure = error
            else:
                return _Stream(stream)
        raise failure

    async def _is_start_public(self, host: str, port: int, found: list[str]) -> bool:
        if host != self._start_host:
            # Resumed from a snapshot of an earlier version.
            try:
                found = await self._addresses(self._start_host, port)
            except HostNotFound:
                return True
        return has_public(found)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002 - the signature is httpcore's
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        raise HostNotFound(path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        self.waits_for_us = True
        try:
            return await self._resolve(host, port)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise OwnFailure(f"the address of {host} could not be looked up ({error.strerror})") from error
            raise HostNotFound(host) from error
        except (OSError, UnicodeError) as error:
            raise HostNotFound(host) from error


def _host(url: str) -> str:
    """Returns the host of a URL as connections name it; empty if there is none."""
    try:
        return httpx.URL(url).raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        return ""


def _own_error(error: BaseException | None) -> str:
    """Returns what we lack for a connection, or nothing if the failure is the site's."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OWN_ERRNOS:
            return str(error.strerror)
        error = error.__cause__ or error.__context__
    return ""


class _Stream(httpcore.AsyncNetworkStream):
    """Closes the connection when its TLS handshake is aborted; httpcore 1.0 leaves it open."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class GuardedTransport(httpx.AsyncBaseTransport):
    """The httpx transport of one participant, who begins at the URL `start`."""

    def __init__(self, *, addresses: AllowedAddresses, start: str, resolver: Resolver = resolve) -> None:
        self._backend = GuardedBackend(addresses=addresses, start=start, resolver=resolver)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls_context(),
            max_connections=2,
            # Shorter than the idle timeout of most servers, five seconds.
            keepalive_expiry=2.0,
            network_backend=self._backend,
        )

    @property
    def waits_for_us(self) -> bool:
        """Returns whether the request waits for something that we lack, or waited when it was cancelled."""
        return self._backend.waits_for_us

    @property
    def from_public(self) -> bool | None:
        """Returns whether the participant began at a public address; None before the first connection."""
        return self._backend.from_public

    @from_public.setter
    def from_public(self, value: bool | None) -> None:
        self._backend.from_public = value

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        self._backend.waits_for_us = False
        try:
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except _CORE_ERRORS as error:
            raise _as_httpx(error) from error
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._response.aiter_stream():
                yield part
        except _CORE_ERRORS as error:
            raise _as_httpx(error) from error

    async def aclose(self) -> None:
        await self._response.aclose()


_CORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ProxyError,
)


def _as_httpx(error: Exception) -> httpx.TransportError:
    """Returns the httpx error of the same name; both libraries use the same names."""
    kind = getattr(httpx, type(error).__name__, httpx.TransportError)
    return kind(str(error)) if issubclass(kind, httpx.TransportError) else httpx.TransportError(str(error))
