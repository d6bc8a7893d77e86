"""The event loop of all steps. Nothing that a step calls on it can block another run's step."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from understudy.isolation.resolver import resolve

Result = TypeVar("Result")


class StepLoop(asyncio.SelectorEventLoop):
    """Has no default executor: asyncio's has a few threads, which all runs share with `getaddrinfo`.

    Thirty lookups that hang would stop everybody. Here a lookup takes no thread, and `asyncio.to_thread` takes
    one of its own.
    """

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, **options: Any) -> list[tuple[Any, ...]]:
        """Returns what `socket.getaddrinfo` returns, looked up by the resolver of this loop. Raises gaierror."""
        host = host.decode() if isinstance(host, bytes) else host
        addresses = await resolve(host, 0) if host else [host]
        found = []
        for address in addresses:
            # An address needs no lookup, so that this does not block.
            options["flags"] = options.get("flags", 0) | socket.AI_NUMERICHOST
            with contextlib.suppress(socket.gaierror):
                found += socket.getaddrinfo(address, port, family, **options)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} has no address of this kind")
        return found

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Result], *args: Any
    ) -> asyncio.Future[Result]:
        """Runs `func` in `executor`, or in a new thread if that is None."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        done: asyncio.Future[Result] = self.create_future()
        work = partial(copy_context().run, func, *args)
        threading.Thread(target=self._call, args=(work, done), name="blocking call", daemon=True).start()
        return done

    def _call(self, work: Callable[[], Result], done: asyncio.Future[Result]) -> None:
        try:
            settle = partial(_set, done, done.set_result, work())
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            settle = partial(_set, done, done.set_exception, error)
        try:
            self.call_soon_threadsafe(settle)
        except RuntimeError:
            # The loop is closed: nobody waits for the result.
            return


def _set(done: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not done.done():
        settle(value)
