"""Where servers of this machine listen: free ports, addresses, and whether somebody answers there."""

import http.client
import socket


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now; another process may take it before it is used. OSError as `check_port`."""
    return _bind(host, 0)


def check_port(host: str, port: int) -> None:
    """Raises OSError if a server can't have this port on this host now: taken, forbidden, no such host."""
    _bind(host, port)


def reachable_host(host: str) -> str:
    """An address at which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a wildcard


def http_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_healthy(host: str, port: int, path: str) -> bool:
    """Does what listens on `host` answer a GET with 200, within two seconds?"""
    # Not urllib: it would ask a proxy that is set up for the world outside.
    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _bind(host: str, port: int) -> int:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: connections of an earlier one that linger don't make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        # Two sockets may be bound to one address before one of them listens.
        probe.listen(1)
        return int(probe.getsockname()[1])
