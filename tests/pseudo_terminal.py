"""A terminal in this process: what a command writes to it, byte for byte."""

import io
import os
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class PseudoTerminal:
    """A terminal whose output is kept."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        attributes = termios.tcgetattr(self._slave)
        # Without post-processing, which adds carriage returns of its own.
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @contextmanager
    def as_output(self) -> Iterator[None]:
        """Makes it stdout and stderr of this process."""
        with pytest.MonkeyPatch.context() as patch, os.fdopen(os.dup(self._slave), "wb", buffering=0) as raw:
            stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            yield
            stream.detach()

    def close(self) -> str:
        """Closes it and returns all that was written."""
        os.close(self._slave)
        self._reader.join()
        os.close(self._master)
        return self._shown.decode()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._master, 65_536)
            except OSError:
                # Linux ends the stream of a terminal that nobody holds open with an error.
                return
            if not chunk:
                return
            self._shown += chunk
