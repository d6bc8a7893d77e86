"""Clients of Valkey and Redis, for what is told and counted beside the queues."""

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from understudy.domain.broker_address import parse_broker_url


def connect(url: str, **options: Any) -> redis.Redis:
    """A client that connects when it is used, by Sentinels if the URL says so. Raises BadAddress."""
    address = parse_broker_url(url)
    arguments = address.redis_arguments() | options
    if not address.has_sentinels:
        (host, port), *_ = address.hosts
        return redis.Redis(host=host, port=port, **arguments)
    told = address.sentinel_arguments() | _timeouts(options)
    asked: Any = Sentinel(list(address.hosts), sentinel_kwargs=told, **arguments)  # type: ignore[no-untyped-call]
    client: _Client = asked.master_for(address.options["master_name"], redis_class=_Client)
    client.sentinels = asked.sentinels
    return client


def connect_async(url: str, **options: Any) -> redis.asyncio.Redis:
    """`connect`, for asyncio."""
    address = parse_broker_url(url)
    arguments = address.redis_arguments() | options
    if not address.has_sentinels:
        (host, port), *_ = address.hosts
        return redis.asyncio.Redis(host=host, port=port, **arguments)
    told = address.sentinel_arguments() | _timeouts(options)
    asked: Any = AsyncSentinel(list(address.hosts), sentinel_kwargs=told, **arguments)  # type: ignore[no-untyped-call]
    client: _AsyncClient = asked.master_for(address.options["master_name"], redis_class=_AsyncClient)
    client.sentinels = asked.sentinels
    return client


class _Client(redis.Redis):
    """Closes what it asked Sentinels by, too."""

    sentinels: Any = ()

    def close(self) -> None:
        super().close()
        for sentinel in self.sentinels:
            sentinel.close()


class _AsyncClient(redis.asyncio.Redis):
    """Closes what it asked Sentinels by, too."""

    sentinels: Any = ()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for sentinel in self.sentinels:
            await sentinel.aclose()


def _timeouts(options: dict[str, Any]) -> dict[str, Any]:
    """Sentinels are given no more time than the server."""
    return {name: value for name, value in options.items() if name.startswith("socket_")}
