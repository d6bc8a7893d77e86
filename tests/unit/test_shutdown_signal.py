"""Shutdown signals: at any moment, repeated, and while the process hangs."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

HANGING = """
import time
from understudy.worker.shutdown import ShutdownSignal
shutdown = ShutdownSignal()
shutdown.install()
shutdown.on_request(lambda: print("begun", flush=True), timeout_s=0.3)
print("ready", flush=True)
while True:
    time.sleep(60)
"""

WAITING = """
from understudy.worker.shutdown import ShutdownSignal
shutdown = ShutdownSignal()
shutdown.install()
print("ready", flush=True)
while not shutdown.wait(60):
    pass
assert shutdown.is_requested
"""


@contextlib.contextmanager
def started(program: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready for signals; it is killed at the end of the block."""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_hanging_shutdown_ends_after_its_timeout() -> None:
    with started(HANGING) as process:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert (out, process.returncode) == ("begun\n", 75)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_any_signal_ends_the_wait_however_often_it_comes(number: signal.Signals) -> None:
    with started(WAITING) as process:
        for _ in range(50):
            if process.poll() is None:
                process.send_signal(number)
        process.communicate(timeout=30)
    # One that comes when the interpreter is just ending finds no handler any more.
    assert process.returncode in {0, -number}
