"""The child process of a lane: calls one function again and again, within limits that it cannot escape.

Started as `python -m understudy.isolation.child MODULE:FUNCTION CPU_S MAX_MB RECYCLE_MB FD`. A request and an
answer are each JSON, with a size in front. Bytes follow a request; an answer tells whether the call failed.
"""

import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

#: Of a request: the sizes of its JSON and of its bytes. Of an answer: the size of its JSON, and 1 if that is the
#: text of an error.
HEADER = struct.Struct("!II")

#: Gets the JSON and the bytes of a request; returns the JSON of the answer.
Work: TypeAlias = Callable[[Any, bytes], Any]


def serve(connection: socket.socket, work: Work, *, cpu_s: float, recycle_mb: int) -> None:
    """Answers requests until the parent closes the connection, or this process has grown to `recycle_mb`."""
    with connection.makefile("rb") as requests, connection.makefile("wb") as answers:
        while header := requests.read(HEADER.size):
            json_size, bytes_size = HEADER.unpack(header)
            question, body = json.loads(requests.read(json_size)), requests.read(bytes_size)
            # The kernel ends this process after so much processor time, also inside of C code.
            signal.setitimer(signal.ITIMER_PROF, cpu_s)
            failed = 0
            try:
                answer = json.dumps(work(question, body)).encode()
            except MemoryError:
                return
            except Exception as error:  # noqa: BLE001 - it belongs to the caller
                answer, failed = json.dumps(f"{type(error).__name__}: {error}").encode(), 1
            signal.setitimer(signal.ITIMER_PROF, 0)
            answers.write(HEADER.pack(len(answer), failed) + answer)
            answers.flush()
            if _resident_mb() > recycle_mb:
                return


def _resident_mb() -> int:
    """Returns the memory of this process; 0 if the system does not report it. The peak would be the parent's."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize() >> 20


def main(target: str, cpu_s: str, max_mb: str, recycle_mb: str, fd: str) -> None:
    # The parent decides when this process ends; a Ctrl-C reaches the whole process group.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    module, _, name = target.partition(":")
    work: Work = getattr(importlib.import_module(module), name)
    # Others come first: a page that takes long must not slow down the runs of the parent.
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (int(max_mb) << 20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=int(fd)) as connection:
        serve(connection, work, cpu_s=float(cpu_s), recycle_mb=int(recycle_mb))


if __name__ == "__main__":
    main(*sys.argv[1:])
