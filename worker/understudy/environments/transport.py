"""Transport: the way out to the net, with a guard at the door.

The guard sits where connections are made, behind name resolution: it checks the addresses a name resolved to
and connects to exactly those, so that a name that resolves anew to something else (DNS rebinding) gains
nothing. URL, `Host` and the name that certificates are checked against stay what they were.

One TLS context serves the whole process, as loading certificates is what costs. The connections belong to one
participant: a pool shared by 300 of them took 45 s of processor time for what 300 small ones did in 10 s
(httpcore 1.0 walks over all connections several times a request), and what is not shared can be closed to the
last socket when the participant goes.
"""

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import httpcore
import httpx

#: From host and port to the addresses it has; raises OSError.
Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]

_RESOLVE_TIMEOUT_S = 10.0
#: Most time for one of several addresses, so that a dead one does not use up the time of the next.
_ATTEMPT_TIMEOUT_S = 5.0
_MAX_ADDRESSES = 6

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressBlocked(httpx.ConnectError):
    """The host has no address that participants may visit."""


class HostNotFound(httpx.ConnectError):
    """The host has no address."""


def is_public(address: str) -> bool:
    """Is this the address of a host in the open internet, whichever way it is written?"""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner = [ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)]
        if found := [str(other) for other in inner if other is not None]:
            # A way round to an IPv4 address is as good or bad as that address.
            return all(map(is_public, found))
        if ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system, which also reads the odd notations (`2130706433`, `0x7f.1`)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The process's one TLS context. The first call takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Makes connections, to permitted addresses only."""

    def __init__(self, *, allow_private_hosts: bool, resolver: Resolver = resolve) -> None:
        self._allow_private_hosts = allow_private_hosts
        self._resolve = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        if not self._allow_private_hosts:
            addresses = [address for address in addresses if is_public(address)]
            if not addresses:
                raise AddressBlocked(f"{host} is a private address")
        failure: Exception = HostNotFound(f"{host} has no address")
        for address in addresses[:_MAX_ADDRESSES]:
            limit = timeout if len(addresses) == 1 else min(timeout or _ATTEMPT_TIMEOUT_S, _ATTEMPT_TIMEOUT_S)
            try:
                stream = await self._inner.connect_tcp(address, port, limit, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002 - the signature is httpcore's
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        raise AddressBlocked(f"{path} is not on the net")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
                return await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise HostNotFound(f"{host} has no address") from error


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that is closed when its TLS handshake is aborted; httpcore 1.0 forgets it open then."""

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
    """What httpx sends one participant's requests through."""

    def __init__(self, *, allow_private_hosts: bool, resolver: Resolver = resolve) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls_context(),
            max_connections=2,
            # Shorter than servers wait: most hang up on an idle connection after five seconds.
            keepalive_expiry=2.0,
            network_backend=GuardedBackend(allow_private_hosts=allow_private_hosts, resolver=resolver),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        try:
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
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
    """Both libraries call the same things by the same names."""
    kind = getattr(httpx, type(error).__name__, httpx.TransportError)
    return kind(str(error)) if issubclass(kind, httpx.TransportError) else httpx.TransportError(str(error))
