"""What is between a process and its store, in the hands of a test: a cable, or the lock of a file."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import sqlalchemy


class StoreLink:
    """Carries TCP connections to a server, until it is cut or falls silent; what it carried is mended later.

    Silence is the worse of the two: connections stay open, new ones are taken, and nothing comes back.
    What was sent into the silence arrives once it is over, as it does on a real network.
    """

    def __init__(self, family: int, address: str | tuple[str, int]) -> None:
        self._family = family
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._whole = True
        self._flowing = threading.Event()
        self._flowing.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, and every new one."""
        self._whole = False
        self._break_all()

    def stall(self) -> None:
        """Say nothing any more, and take everything."""
        self._flowing.clear()

    def restore(self) -> None:
        """Carry again."""
        self._whole = True
        self._flowing.set()

    def close(self) -> None:
        """Break all connections, for good."""
        self._whole = False
        self._flowing.set()
        # A close alone does not wake the thread that accepts.
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
        if not self._whole:
            self._break_all()
            return
        try:
            there.connect(self._address)
        except OSError:
            self._break_both(here, there)
            return
        threading.Thread(target=self._pump, args=(there, here), daemon=True).start()
        self._pump(here, there)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                target.sendall(data)
        self._break_both(source, target)

    def _break_both(self, *ends: socket.socket) -> None:
        for end in ends:
            _hang_up(end)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextlib.contextmanager
def link_to(database_url: str) -> Iterator[tuple[StoreLink, str]]:
    """A cable to a PostgreSQL server, and the URL of the same database at its near end."""
    url = sqlalchemy.make_url(database_url)
    folder = url.query.get("host")
    port = url.port or 5432
    if isinstance(folder, str):
        cable = StoreLink(socket.AF_UNIX, f"{folder}/.s.PGSQL.{port}")
    else:
        cable = StoreLink(socket.AF_INET, (url.host or "127.0.0.1", port))
    near = url.set(host="127.0.0.1", port=cable.port).difference_update_query(["host"])
    try:
        yield cable, near.render_as_string(hide_password=False)
    finally:
        cable.close()


@contextlib.contextmanager
def until_mended(cable: StoreLink, harm: Callable[[StoreLink], None]) -> Iterator[None]:
    """Harmed, by `Cable.cut` or `Cable.fall_silent`, for the time of the block."""
    harm(cable)
    try:
        yield
    finally:
        cable.restore()


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """SQLite is a file: who locks it, as this block does, locks out everybody."""
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.exec_driver_sql("ROLLBACK")
    engine.dispose()
