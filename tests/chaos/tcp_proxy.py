"""A proxy between one worker and the store, which can stall or disconnect."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import sqlalchemy


class TcpProxy:
    """A TCP proxy on loopback in front of a PostgreSQL socket.

    Stalled, it accepts connections and bytes and forwards nothing; disconnected, it ends connections and accepts none.
    """

    def __init__(self, database_url: str) -> None:
        url = sqlalchemy.make_url(database_url)
        self._socket = Path(str(url.query["host"])) / f".s.PGSQL.{url.port or 5432}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_disconnected = False
        self._server = self._call(asyncio.start_server(self._accept, "127.0.0.1", 0))
        port = self._server.sockets[0].getsockname()[1]
        mine = url.set(host="127.0.0.1", port=port, query={})
        #: The URL of the store by this proxy.
        self.url = mine.render_as_string(hide_password=False)
        self.works = True

    def stall(self) -> None:
        """Forwards nothing from now on."""
        self.works = False
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def disconnect(self) -> None:
        """Ends all connections and accepts none."""
        self.works = False
        self._is_disconnected = True
        self._loop.call_soon_threadsafe(self._cancel_tasks)

    def restore(self) -> None:
        """Works again; what was held back is forwarded now."""
        self._is_disconnected = False
        self._loop.call_soon_threadsafe(self._flowing.set)
        self.works = True

    def close(self) -> None:
        """Ends all connections and the proxy."""
        self._is_disconnected = True
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _close(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        self._cancel_tasks()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            if not self._is_disconnected:
                await self._forward_both(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _forward_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind = await asyncio.open_unix_connection(str(self._socket))
        try:
            there = asyncio.create_task(self._forward(reader, behind))
            back = asyncio.create_task(self._forward(behind_reader, writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in (there, back):
                    way.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            behind.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
