"""The line between one worker and the store: it can hang, or be cut, while everybody else's works."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import sqlalchemy


class TcpProxy:
    """A TCP proxy on loopback in front of a PostgreSQL socket.

    Hung, it takes connections and bytes and passes nothing on; cut, it ends connections and takes none.
    """

    def __init__(self, database_url: str) -> None:
        url = sqlalchemy.make_url(database_url)
        self._socket = Path(str(url.query["host"])) / f".s.PGSQL.{url.port or 5432}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._thread.start()
        self._talks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_cut = False
        self._server = self._call(asyncio.start_server(self._take, "127.0.0.1", 0))
        port = self._server.sockets[0].getsockname()[1]
        mine = url.set(host="127.0.0.1", port=port, query={})
        #: The store's URL for whoever is at this end of the line.
        self.url = mine.render_as_string(hide_password=False)
        self.works = True

    def stall(self) -> None:
        """Pass nothing on from now on."""
        self.works = False
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def disconnect(self) -> None:
        """End all connections and take none."""
        self.works = False
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._end_talks)

    def restore(self) -> None:
        """Work again; what was held back by a hung line is passed on now."""
        self._is_cut = False
        self._loop.call_soon_threadsafe(self._flowing.set)
        self.works = True

    def close(self) -> None:
        """End it all."""
        self._is_cut = True
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _close(self) -> None:
        self._server.close()
        talks = list(self._talks)
        self._end_talks()
        await asyncio.gather(*talks, return_exceptions=True)

    def _end_talks(self) -> None:
        for talk in self._talks:
            talk.cancel()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk
        self._talks.add(talk)
        try:
            if not self._is_cut:
                await self._talk(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._talks.discard(talk)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind = await asyncio.open_unix_connection(str(self._socket))
        try:
            there = asyncio.create_task(self._pass_on(reader, behind))
            back = asyncio.create_task(self._pass_on(behind_reader, writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in (there, back):
                    way.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            behind.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
