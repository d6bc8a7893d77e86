"""A name server on loopback that answers, refuses or stays silent, by name."""

import socket
import struct
import threading
from collections import Counter
from types import TracebackType
from typing import Self

_NAME_ERROR, _SERVER_FAILURE = 3, 2
_TYPE_A = 1


class NameServer:
    """Answers `addresses`; is silent for names below `dead.test`, fails for those below `broken.test`.

    No other name exists.
    """

    def __init__(self, addresses: dict[str, str], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        #: `host:port`, as resolvers take it.
        self.address = "{}:{}".format(*self._socket.getsockname())
        #: Queries for IPv4 addresses, by name.
        self.asked: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                query, sender = self._socket.recvfrom(4_096)
            except OSError:
                return
            if answer := self._answer(query):
                self._socket.sendto(answer, sender)

    def _answer(self, query: bytes) -> bytes | None:
        labels, position = [], 12
        while size := query[position]:
            labels.append(query[position + 1 : position + 1 + size].decode().lower())
            position += 1 + size
        (kind,) = struct.unpack_from("!H", query, position + 1)
        question, name = query[12 : position + 5], ".".join(labels)
        self.asked[name] += kind == _TYPE_A
        if name.endswith("dead.test"):
            return None
        address = self._addresses.get(name)
        code = _SERVER_FAILURE if name.endswith("broken.test") else 0 if address else _NAME_ERROR
        answers = 1 if address and kind == _TYPE_A else 0
        header = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, answers, 0, 0)
        if not answers or not address:
            return header + question
        return header + question + b"\xc0\x0c" + struct.pack("!HHIH", _TYPE_A, 1, 60, 4) + socket.inet_aton(address)
