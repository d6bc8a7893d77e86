"""Resolver: looks up host names on the event loop. A lookup without an answer delays only its own run."""

import asyncio
import re
import socket
from collections.abc import Sequence
from functools import partial

import aiodns
import pycares

from understudy.isolation.per_loop import PerLoop

#: Seconds after which a lookup counts as unanswered, whatever the system's settings say.
LOOKUP_TIMEOUT_S = 8.0
#: A new channel after this many lookups drops the cache of the old one, which has no bound of its own.
_LOOKUPS_PER_CHANNEL = 10_000

#: A host whose last part is a number is an IPv4 address or nothing: `127.1`, `2130706433`, `0x7f.1`.
_IPV4 = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|\d+)\.?", re.IGNORECASE | re.DOTALL)
#: The name servers answered: this name has no address. Any other error is temporary.
_NO_ADDRESS = frozenset(
    (pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENONAME, pycares.errno.ARES_EBADNAME)
)


class Resolver:
    """Resolves names for all runs of an event loop, with the system's hosts file and name servers.

    It uses no thread pool. Any number of names can wait for an answer, and runs that ask for the same name
    share one lookup; a run asks for one name per connection.
    """

    def __init__(self, name_servers: Sequence[str] = ()) -> None:
        """Uses `name_servers` (`127.0.0.1:53`) in place of the system's. Call it on the event loop."""
        self._name_servers = name_servers
        self._lookups = 0
        self._pending: dict[str, asyncio.Task[list[str]]] = {}
        self._channel: aiodns.DNSResolver | None = None

    async def resolve(self, host: str, port: int = 0) -> list[str]:  # noqa: ARG002 - a connection knows its port
        """Returns the addresses of `host`.

        Raises socket.gaierror: EAI_NONAME if it has none, EAI_AGAIN if no name server answers in time.
        """
        if _IPV4.fullmatch(host):
            return [_ipv4(host)]
        lookup = self._pending.get(host)
        if lookup is None:
            lookup = self._pending[host] = asyncio.create_task(self._look_up(host))
            lookup.add_done_callback(partial(self._ended, host))
        # The lookup goes on for the others if this run is aborted.
        return list(await asyncio.shield(lookup))

    async def close(self) -> None:
        """Ends all lookups."""
        for lookup in tuple(self._pending.values()):
            lookup.cancel()
        if self._channel is not None:
            await self._channel.close()

    async def _look_up(self, host: str) -> list[str]:
        if self._channel is None or self._lookups >= _LOOKUPS_PER_CHANNEL:
            # Lookups in flight keep the old channel.
            self._channel, self._lookups = aiodns.DNSResolver(self._name_servers or None), 0
        self._lookups += 1
        channel = self._channel
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                found = await channel.getaddrinfo(host, socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers in time") from None
        except (aiodns.error.DNSError, UnicodeError) as error:
            if isinstance(error, UnicodeError) or error.args[0] in _NO_ADDRESS:
                raise socket.gaierror(socket.EAI_NONAME, "the name has no address") from None
            raise socket.gaierror(socket.EAI_AGAIN, str(error.args[-1])) from None
        return list(dict.fromkeys(node.addr[0].decode() for node in found.nodes))

    def _ended(self, host: str, lookup: asyncio.Task[list[str]]) -> None:
        self._pending.pop(host, None)
        # Read, so that asyncio does not report a lookup for which nobody waits any more.
        lookup.cancelled() or lookup.exception()


def _ipv4(host: str) -> str:
    try:
        return socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))
    except OSError:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address") from None


#: The resolver of each loop.
resolvers = PerLoop(Resolver)


async def resolve(host: str, port: int) -> list[str]:
    """Resolves with the resolver of the running loop, like `Resolver.resolve`."""
    return await resolvers.get().resolve(host, port)
