"""Writes log lines in a thread of its own."""

import contextlib
import logging
import threading
import time
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import TextIO

#: Records that may wait before `emit` waits too: a stderr that nobody reads must not fill the memory.
MAX_WAITING = 10_000
#: Seconds in which the writing thread collects records. To wake it for each would cost as much as the line.
COLLECT_S = 0.02
#: Seconds that the end of a process waits for its last lines.
CLOSE_TIMEOUT_S = 2.0


class LogWriter(logging.Handler):
    """Formats and writes records in a thread of its own, many at once.

    Each write gives up the interpreter; under load a loop that logs would wait for it up to 5 ms a line. `close`,
    which `logging.shutdown` calls, writes what waits. Only SIGKILL loses the lines of the last moment.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._records: SimpleQueue[tuple[logging.LogRecord, Context] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_lines, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Leaves a record to the writing thread."""
        while self._records.qsize() >= MAX_WAITING and self._thread.is_alive():
            time.sleep(0.01)
        self._records.put((record, copy_context()))

    def close(self) -> None:
        """Writes what waits, for at most CLOSE_TIMEOUT_S."""
        self._records.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        super().close()

    def _write_lines(self) -> None:
        while (waiting := self._records.get()) is not None:
            time.sleep(COLLECT_S)
            lines = [*self._format(*waiting)]
            while not self._records.empty() and (waiting := self._records.get()) is not None:
                lines += self._format(*waiting)
            # A stderr that is closed or full leaves no other place to tell it.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("".join(lines))
                self._stream.flush()
            if waiting is None:
                return

    def _format(self, record: logging.LogRecord, context: Context) -> list[str]:
        try:
            return [context.run(self.format, record) + "\n"]
        except Exception:  # noqa: BLE001 - told as by the handlers of `logging`
            self.handleError(record)
            return []
