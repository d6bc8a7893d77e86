"""Ports and addresses of servers on this machine: free ports, URLs, health checks."""

import http.client
import json
import socket
from pathlib import Path

from understudy.domain.broker_address import bracket_host


def free_port(host: str = "127.0.0.1") -> int:
    """Returns a port that is free now; another process may take it before use. Raises OSError."""
    return _bind(host, 0)


def check_port(host: str, port: int) -> None:
    """Raises OSError if a server cannot bind the port now: in use, forbidden, or unknown host."""
    _bind(host, port)


def read_port(file: Path) -> int | None:
    """Returns the port that `file` holds; None if it holds none, or does not exist."""
    try:
        port = int(file.read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 2**16 else None


def reachable_host(host: str) -> str:
    """Returns an address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a wildcard


def http_url(host: str, port: int) -> str:
    return f"http://{bracket_host(host)}:{port}"


def is_healthy(host: str, port: int, path: str) -> bool:
    """Returns whether the server answers `GET path` with 200; the timeout is 2 s."""
    return _body(host, port, path) is not None


def is_ready(host: str, port: int) -> bool:
    """Returns whether an API process answers with store and broker; the timeout is 2 s."""
    try:
        return bool(json.loads(_body(host, port, "/readyz") or b"{}").get("status") == "ok")
    except ValueError:
        return False


def _body(host: str, port: int, path: str) -> bytes | None:
    """Returns the body of a 200; None for any other answer."""
    # Not urllib: it would use a proxy that is configured for external addresses.
    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _bind(host: str, port: int) -> int:
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = addresses[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: lingering connections of an earlier server must not make the port look used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        # Two sockets can be bound to one address until one of them listens.
        probe.listen(1)
        return int(probe.getsockname()[1])
