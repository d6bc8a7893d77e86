"""Many callers that wait, each on a connection of its own: `python -m tests.bench.waiting_clients`.

Reads `{"port", "token", "method", "waits": [[id, path, body], ...]}` from standard input; writes `asked` once
all have asked, then a line for each answer, `id time status`, by the clock that all processes share.
"""

import asyncio
import json
import resource
import sys
import time
from typing import Any

#: Connections that are made at a time: a server takes only so many that it has not seen yet.
AT_A_TIME = 100


async def main(asked: dict[str, Any]) -> None:
    turns = asyncio.Semaphore(AT_A_TIME)
    left = len(asked["waits"])
    all_asked = asyncio.Event()

    async def wait(id_: str, path: str, body: str) -> None:
        nonlocal left
        async with turns:
            reader, writer = await asyncio.open_connection("127.0.0.1", asked["port"])
            writer.write(
                f"{asked['method']} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Authorization: Bearer {asked['token']}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            await writer.drain()
        left -= 1
        if not left:
            all_asked.set()
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        sys.stdout.write(f"{id_} {time.monotonic()} {head.split()[1].decode()}\n")
        sys.stdout.flush()
        writer.close()

    async with asyncio.TaskGroup() as group:
        for one in asked["waits"]:
            group.create_task(wait(*one))
        await all_asked.wait()
        sys.stdout.write("asked\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(json.load(sys.stdin)))
