"""Sends one message to one receiver, within bounds of time and size, at an address of the operator's allow list.

The check comes after the look-up of the name, and the connection goes to an address that passed it: a name that
later means another address (DNS rebinding) has no effect. Redirects are answers like any other.
"""

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import httpcore
import httpx

from understudy.domain.receiver_networks import ReceiverNetworks
from understudy.isolation.resolver import resolve

#: Returns the addresses of a host. Raises OSError.
Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]


class TimeLimits(NamedTuple):
    """Seconds that a receiver has."""

    connect_s: float = 5.0
    read_s: float = 10.0
    #: For the whole attempt; well below the time of a claim.
    total_s: float = 15.0


#: Addresses of a name that are tried.
_MAX_ADDRESSES = 3
_MAX_ERROR_LENGTH = 200


class Answer(NamedTuple):
    """The result of an attempt: an HTTP status, or what went wrong before there was one."""

    status: int | None
    error: str | None


class Sender:
    """Sends messages. Belongs to one event loop; any number of sends may run at once."""

    def __init__(
        self, networks: ReceiverNetworks, *, limits: TimeLimits | None = None, resolver: Resolver = resolve
    ) -> None:
        self._networks = networks
        self._resolver = resolver
        self._limits = limits or TimeLimits()

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        """Posts `body` and returns the answer; reads no more of it than its headers."""
        try:
            async with asyncio.timeout(self._limits.total_s):
                status = await self._post(url, headers, body.encode())
        except TimeoutError:
            return Answer(None, f"no answer within {self._limits.total_s:g} s")
        except _NETWORK_ERRORS as error:
            return Answer(None, _describe(error))
        return Answer(status, None if 200 <= status < 300 else f"answered with status {status}")

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        parsed = httpx.URL(url)
        target = httpcore.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path)
        limits = self._limits
        # A connection of its own: nothing of a receiver stays open after its answer.
        backend = _Backend(self._networks, self._resolver)
        connection = httpcore.AsyncHTTPConnection(target.origin, ssl_context=_tls_context(), network_backend=backend)
        all_headers = [
            ("Host", parsed.netloc.decode()),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("User-Agent", "Understudy-Webhooks/1"),
            ("Connection", "close"),
            *headers.items(),
        ]
        timeouts = {"connect": limits.connect_s, "read": limits.read_s, "write": limits.read_s, "pool": limits.read_s}
        extensions = {"timeout": timeouts}
        try:
            async with connection.stream(
                "POST", target, headers=all_headers, content=body, extensions=extensions
            ) as response:
                return response.status
        finally:
            await backend.close()


@functools.cache
def _tls_context() -> ssl.SSLContext:
    # With SSL_CERT_FILE, by which an operator adds the authority of internal receivers.
    return httpx.create_ssl_context()


class _NotAllowed(httpcore.ConnectError):
    """The host has no address that is in the allow list, or none at all: callers must not learn what exists inside."""

    def __init__(self) -> None:
        super().__init__("the address of the receiver is unknown or not in the operator's allow list")


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to addresses of the allow list only."""

    def __init__(self, networks: ReceiverNetworks, resolver: Resolver) -> None:
        self._networks = networks
        self._resolve = resolver
        self._inner = httpcore.AnyIOBackend()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def close(self) -> None:
        """Closes all connections: httpcore 1.0 leaves one open whose TLS handshake is aborted."""
        for stream in self._opened:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        allowed = [address for address in addresses if self._networks.permits(address)]
        if not allowed:
            raise _NotAllowed
        failure: Exception | None = None
        for address in allowed[:_MAX_ADDRESSES]:
            try:
                stream = await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                self._opened.append(stream)
                return stream
        assert failure is not None
        raise failure

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        try:
            return await self._resolve(host, port)
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise httpcore.ConnectError("the address could not be looked up") from error
            raise _NotAllowed from error

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - the signature is httpcore's
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        raise _NotAllowed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


#: What a receiver or the way to it can cause.
_NETWORK_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpx.InvalidURL,
    OSError,
    UnicodeError,
)


def _describe(error: BaseException) -> str:
    kinds: dict[type[BaseException], str] = {
        httpcore.ConnectTimeout: "no connection in time",
        httpcore.ReadTimeout: "no answer in time",
        httpcore.WriteTimeout: "the message was not taken in time",
        httpcore.ConnectError: "no connection",
        httpcore.RemoteProtocolError: "the receiver closed the connection or does not speak HTTP",
        httpcore.ReadError: "the receiver closed the connection",
        httpcore.WriteError: "the receiver closed the connection",
    }
    kind = kinds.get(type(error), "")
    text = ": ".join(filter(None, (kind, str(error)))) or type(error).__name__
    return text[:_MAX_ERROR_LENGTH]
