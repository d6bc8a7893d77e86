"""The demo shop and the demo chatbot as processes: clients that leave, and Ctrl-C."""

import contextlib
import signal
import socket
import struct
import subprocess
import sys

import pytest

from tests.servers import free_port, wait_until

#: A header that promises more of a body than follows.
POST = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{{"


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def leave(client: socket.socket, *, reset: bool) -> None:
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize(("command", "path"), [("shop", "/cart/add"), ("chatbot", "/chat")])
def test_demo_server_prints_no_traceback_when_clients_leave_and_ends_by_ctrl_c(command: str, path: str) -> None:
    port = free_port()
    # If the tests run in the background, SIGINT is ignored, and child processes inherit that.
    handler = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    start = f"{handler}; from understudy.deploy.main import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", start, command, "--port", str(port), "--delay-s", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(lambda: accepts(port))
        for reset in (False, True):
            for request in (POST.format(path), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
                client = socket.create_connection(("127.0.0.1", port))
                client.sendall(request.encode())
                leave(client, reset=reset)
        with socket.create_connection(("127.0.0.1", port)) as unfinished:
            unfinished.sendall(POST.format(path).encode())
            # Answered after the server has read the other request.
            with socket.create_connection(("127.0.0.1", port)) as other:
                other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert other.recv(1)
            server.send_signal(signal.SIGINT)
            printed, _ = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0
    assert "Traceback" not in printed
