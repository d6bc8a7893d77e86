"""Clients of Valkey and Redis for notifications and quotas."""

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from understudy.domain.broker_address import parse_broker_url


def connect(url: str, **options: Any) -> redis.Redis:
    """Returns a client that connects on first use, by Sentinels if `url` has any; raises InvalidBrokerUrl."""
    address = parse_broker_url(url)
    arguments = address.redis_arguments() | options
    if not address.has_sentinels:
        (host, port), *_ = address.hosts
        return redis.Redis(host=host, port=port, **arguments)
    limits = address.sentinel_arguments() | _timeouts(options)
    pool: Any = Sentinel(list(address.hosts), sentinel_kwargs=limits, **arguments)  # type: ignore[no-untyped-call]
    client: _Client = pool.master_for(address.options["master_name"], redis_class=_Client)
    client.sentinels = pool.sentinels
    return client


def connect_async(url: str, **options: Any) -> redis.asyncio.Redis:
    """Returns the asyncio client for the same URLs as `connect`."""
    address = parse_broker_url(url)
    arguments = address.redis_arguments() | options
    if not address.has_sentinels:
        (host, port), *_ = address.hosts
        return redis.asyncio.Redis(host=host, port=port, **arguments)
    limits = address.sentinel_arguments() | _timeouts(options)
    pool: Any = AsyncSentinel(list(address.hosts), sentinel_kwargs=limits, **arguments)  # type: ignore[no-untyped-call]
    client: _AsyncClient = pool.master_for(address.options["master_name"], redis_class=_AsyncClient)
    client.sentinels = pool.sentinels
    return client


class _Client(redis.Redis):
    """Also closes the connections to the Sentinels."""

    sentinels: Any = ()

    def close(self) -> None:
        super().close()
        for sentinel in self.sentinels:
            sentinel.close()


class _AsyncClient(redis.asyncio.Redis):
    """Also closes the connections to the Sentinels."""

    sentinels: Any = ()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for sentinel in self.sentinels:
            await sentinel.aclose()


def _timeouts(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the socket timeouts, which Sentinels share with the server."""
    return {name: value for name, value in options.items() if name.startswith("socket_")}
