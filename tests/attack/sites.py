"""The sites of the attack: `python -m tests.attack.sites` prints its port. `/shop/…` is an ordinary site."""

import asyncio
import gzip
import json
import sys

#: Seconds that the shop takes for a page; the hostile site answers at once.
SHOP_S = 0.1

_SHOP = (
    "<!doctype html><title>Shop {n}</title><h1>Shop, page {n}</h1>"
    + "".join(
        f"<p>Chair {i}, of <b>solid oak</b>, {i + 40} euro. <a href='/shop/{i}'>Chair {i}</a></p>" for i in range(40)
    )
    + "<form action=/shop/search><input name=q placeholder=Search><button>Search</button></form>"
)
_NEXT = b"<a href=?next>next</a><a href=?more>more</a>"

_FORMATTING = b"<p>" + b"".join(b"<b a%d>" % number for number in range(499)) + b"<p>x" * 500
PAGES: dict[str, bytes] = {
    "formatting": _FORMATTING + _NEXT,
    "options": b"<select>" + b"<option>x" * 40_000 + _NEXT,
    "depth": b"<div>" * 100_000 + _NEXT,
    "links": b"<a href=?x>y" * 60_000,
    "values": b"".join(b"<input type=radio name=r value=%s>" % (b"v" * 3_000) for _ in range(300)) + _NEXT,
    "cookies": b"<h1>Cookies</h1>" + _NEXT,
}
#: A megabyte of lists, as the answer of a chatbot.
_ANSWER = json.dumps({"reply": "Hello", "more": [[]] * 250_000}).encode()


def _head(length: int, *headers: str, kind: str = "text/html") -> bytes:
    lines = (f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _answer(path: str, writer: asyncio.StreamWriter) -> None:
    _, place, *rest = path.split("?", maxsplit=1)[0].split("/")
    if place == "shop":
        await asyncio.sleep(SHOP_S)
        body = _SHOP.format(n="".join(rest)).encode()
        writer.write(_head(len(body)) + body)
    elif place == "bot":
        writer.write(_head(len(_ANSWER), kind="application/json") + _ANSWER)
    elif place == "drip":
        writer.write(_head(1_000_000))
        while not writer.is_closing():
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.5)
    elif place == "cookies":
        # As much as fits into the head of an answer.
        cookies = (f"set-cookie: c{number}=x; path=/cookies/{'p' * 900}" for number in range(90))
        writer.write(_head(len(PAGES[place]), *cookies) + PAGES[place])
    else:
        body = gzip.compress(PAGES[place])
        writer.write(_head(len(body), "content-encoding: gzip") + body)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            head = request.decode("latin-1").lower()
            for line in head.splitlines():
                if line.startswith("content-length:"):
                    await reader.readexactly(int(line.partition(":")[2]))
            await _answer(head.split(" ", 2)[1], writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=1 << 20)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
