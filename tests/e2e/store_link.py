"""Store outages for tests: a TCP proxy in front of PostgreSQL, and a lock on the SQLite file."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import sqlalchemy


class StoreLink:
    """A TCP proxy to a server that can be cut or stalled, and restored.

    Stalled, it keeps connections open and accepts new ones, but passes nothing on until it is restored.
    """

    def __init__(self, family: int, address: str | tuple[str, int]) -> None:
        self._family = family
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._is_whole = True
        self._flowing = threading.Event()
        self._flowing.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks all connections and every new one."""
        self._is_whole = False
        self._break_all()

    def stall(self) -> None:
        """Accepts everything and passes nothing on."""
        self._flowing.clear()

    def restore(self) -> None:
        """Passes data on again."""
        self._is_whole = True
        self._flowing.set()

    def close(self) -> None:
        """Breaks all connections for good."""
        self._is_whole = False
        self._flowing.set()
        # `close` alone does not wake the accepting thread.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break_all()

    def _break_all(self) -> None:
        while self._ends:
            _hang_up(self._ends.pop())

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(here,), daemon=True).start()

    def _connect(self, here: socket.socket) -> None:
        self._flowing.wait()
        there = socket.socket(self._family)
        self._ends += [here, there]
        if not self._is_whole:
            self._break_all()
            return
        try:
            there.connect(self._address)
        except OSError:
            _hang_up(here, there)
            return
        threading.Thread(target=self._pump, args=(there, here), daemon=True).start()
        self._pump(here, there)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                target.sendall(data)
        _hang_up(source, target)


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextlib.contextmanager
def link_to(database_url: str) -> Iterator[tuple[StoreLink, str]]:
    """Yields a link to a PostgreSQL server, and the URL of the database through it."""
    url = sqlalchemy.make_url(database_url)
    folder = url.query.get("host")
    port = url.port or 5432
    if isinstance(folder, str):
        link = StoreLink(socket.AF_UNIX, f"{folder}/.s.PGSQL.{port}")
    else:
        link = StoreLink(socket.AF_INET, (url.host or "127.0.0.1", port))
    linked_url = url.set(host="127.0.0.1", port=link.port).difference_update_query(["host"])
    try:
        yield link, linked_url.render_as_string(hide_password=False)
    finally:
        link.close()


@contextlib.contextmanager
def broken(link: StoreLink, how: Callable[[StoreLink], None]) -> Iterator[None]:
    """Breaks the link, by `StoreLink.cut` or `StoreLink.stall`, for the time of the block."""
    how(link)
    try:
        yield
    finally:
        link.restore()


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Locks the SQLite file for all other connections."""
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.exec_driver_sql("ROLLBACK")
    engine.dispose()
