"""A chat-completions server as others have them, in a process of its own: `python -m tests.fake_model`.

It answers `POST /v1/chat/completions` in the protocol's own shapes: whole or streamed, with usage, errors as
JSON with `error.message`. What it answers is decided by the model that is asked for:

- `walker`: walks the demo shop to its end, as recorded, by what the last message shows;
- `walker:<seconds>`: the same, but each answer takes that long;
- `lingerer`: the same, but on a product's page it thinks for ever, unless somebody told it something;
- `script:<name>`: what a test put into `POST /script/<name>`: a list of answers, one per request, the last
  one repeated. Each is `{"status", "headers", "json" | "text" | "content", "delay_s", "drip_s", "hang", …}`.

`GET /seen` gives every request with its body and what became of it: `answered`, or `closed` by the caller,
when, and how many were being answered at the time. Times are of `time.monotonic`, which processes of one
machine share.
"""

import asyncio
import gzip
import json
import re
import socket
import sys
import time
from typing import Any

#: Longest request that is read.
_MAX_BYTES = 4_000_000

_THING = re.compile(r"^\[(\d+)\] (\w+) \"([^\"]*)\"(?: -> (\S+))?(?: = \"([^\"]*)\")?", re.MULTILINE)


#: What somebody is told who walks no further.
DIRECTION = "Go back one page, then stop."


def _page(given: dict[str, Any]) -> str:
    """The line of a request that says which page is seen now."""
    return str(given["messages"][-1]["content"]).partition("\n")[0]


class Server:
    """All that the server knows."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.scripts: dict[str, list[dict[str, Any]]] = {}
        self.active = 0
        self.most = 0
        self.key: str | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request, until either side closes it."""
        try:
            begun: bytes | None = b""
            while begun is not None and (request := await _read(reader, begun)) is not None:
                method, path, headers, body = request
                if path.startswith("/v1/"):
                    begun = await self._complete(reader, writer, path, headers, body)
                else:
                    begun = b""
                    await _send(writer, 200, self._manage(method, path, body))
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()

    def _manage(self, method: str, path: str, body: bytes) -> Any:
        if path.startswith("/script/") and method == "POST":
            self.scripts[path.removeprefix("/script/")] = json.loads(body)
        elif path == "/key" and method == "POST":
            self.key = json.loads(body)
        return {"seen": self.seen, "active": self.active, "most": self.most}

    async def _complete(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        path: str,
        headers: dict[str, str],
        body: bytes,
    ) -> bytes | None:
        """Answer a request, while listening whether the caller is still there. None: it is not, or is done;
        else what has come of its next request."""
        entry: dict[str, Any] = {"at": time.monotonic(), "path": path, "headers": headers, "end": "open"}
        entry["body"] = given = json.loads(body)
        self.seen.append(entry)
        self.active += 1
        self.most = max(self.most, self.active)
        answering = asyncio.ensure_future(self._answer(writer, path, headers, given))
        # A caller that waits for an answer says nothing: what comes is the end of it.
        listening = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, listening}, return_when=asyncio.FIRST_COMPLETED)
            entry["ended_at"] = time.monotonic()
            if answering.done() and answering.exception() is None:
                entry["end"] = "answered"
                if not answering.result():
                    return None
                if not listening.done():
                    return b""
                return listening.result() or None
            entry["end"] = "closed"
            return None
        finally:
            self.active -= 1
            answering.cancel()
            listening.cancel()
            await asyncio.gather(answering, listening, return_exceptions=True)

    async def _answer(
        self, writer: asyncio.StreamWriter, path: str, headers: dict[str, str], given: dict[str, Any]
    ) -> bool:
        if path != "/v1/chat/completions":
            await _send(writer, 404, _error(f"no such route: {path}"))
            return True
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            told = headers.get("authorization", "").removeprefix("Bearer ")
            await _send(writer, 401, _error(f"Incorrect API key provided: {told}", "invalid_api_key"))
            return True
        model = str(given.get("model"))
        if model == "lingerer" and "/product/" in _page(given) and DIRECTION not in json.dumps(given):
            await asyncio.Event().wait()
        if model == "lingerer" or model.startswith("walker"):
            await asyncio.sleep(float(model.partition(":")[2] or 0))
            await _reply(writer, given, json.dumps(walk(given["messages"])))
            return True
        script = self.scripts.get(model.removeprefix("script:")) if model.startswith("script:") else None
        if not script:
            await _send(writer, 404, _error(f"The model `{model}` does not exist", "model_not_found"))
            return True
        return await _perform(writer, given, script.pop(0) if len(script) > 1 else script[0])


async def _perform(writer: asyncio.StreamWriter, given: dict[str, Any], act: dict[str, Any]) -> bool:
    """Do what a script says."""
    refused = act.get("refuses")
    if refused and refused in json.dumps(given):
        await _send(writer, 400, _error(act["because"]))
        return True
    await asyncio.sleep(act.get("delay_s", 0))
    if act.get("hang"):
        await asyncio.Event().wait()
    if act.get("hang_up"):
        return False
    if act.get("endless"):
        writer.write(_head(200, {"Content-Length": "999999999"}))
        while True:
            writer.write(b" " * 65_536)
            await writer.drain()
    if "packed" in act:
        body = gzip.compress(act["packed"].encode() + b" " * act.get("spaces", 0), 9)
        writer.write(_head(200, {"Content-Length": str(len(body)), "Content-Encoding": "gzip"}) + body)
        await writer.drain()
        return True
    if "status" in act:
        raw = "json" not in act and "text" in act
        error = act.get("json", _error(act.get("because", "it went wrong")))
        body = act["text"] if raw else error
        await _send(writer, act["status"], body, act.get("headers", {}), raw=raw)
        return True
    if "text" in act:
        await _send(writer, 200, act["text"], act.get("headers", {}), raw=True)
        return True
    if "json" in act:
        await _send(writer, 200, act["json"])
        return True
    content = act.get("content", act.get("decision"))
    if not isinstance(content, str):
        content = json.dumps(content)
    await _reply(writer, given, content, **{name: act[name] for name in _REPLY & act.keys()})
    return True


_REPLY = {"drip_s", "finish_reason", "refusal", "usage", "broken"}


async def _reply(
    writer: asyncio.StreamWriter,
    given: dict[str, Any],
    content: str,
    *,
    drip_s: float = 0,
    finish_reason: str = "stop",
    refusal: str | None = None,
    usage: bool = True,
    broken: bool = False,
) -> None:
    """A chat completion, whole or streamed as it was asked for."""
    counted = {
        "prompt_tokens": sum(len(str(message["content"])) for message in given["messages"]) // 4,
        "completion_tokens": max(len(content) // 4, 1),
    }
    counted["total_tokens"] = sum(counted.values())
    head = {"id": "chatcmpl-1", "created": 1, "model": given["model"]}
    if given.get("stream"):
        await _stream(writer, given, content, head, counted, drip_s, finish_reason, refusal, broken)
        return
    message = {"role": "assistant", "content": None if refusal else content, "refusal": refusal}
    body = head | {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
    }
    if usage:
        body["usage"] = counted
    if not drip_s:
        await _send(writer, 200, body)
        return
    text = json.dumps(body).encode()
    writer.write(_head(200, {"Content-Length": str(len(text))}))
    for start in range(0, len(text), 16):
        writer.write(text[start : start + 16])
        await writer.drain()
        await asyncio.sleep(drip_s)


async def _stream(
    writer: asyncio.StreamWriter,
    given: dict[str, Any],
    content: str,
    head: dict[str, Any],
    counted: dict[str, int],
    drip_s: float,
    finish_reason: str,
    refusal: str | None,
    broken: bool,
) -> None:
    writer.write(_head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))
    head = head | {"object": "chat.completion.chunk"}

    async def event(data: str) -> None:
        line = f"data: {data}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))
        await writer.drain()
        await asyncio.sleep(drip_s)

    def piece(delta: dict[str, Any], finish: str | None = None) -> str:
        return json.dumps(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    await event(piece({"role": "assistant", "content": ""}))
    if refusal:
        await event(piece({"refusal": refusal}))
    for start in range(0, 0 if refusal else len(content), 12):
        await event(piece({"content": content[start : start + 12]}))
        if broken:
            await event("{not json")
    await event(piece({}, finish_reason))
    if (given.get("stream_options") or {}).get("include_usage"):
        await event(json.dumps(head | {"choices": [], "usage": counted}))
    await event("[DONE]")
    writer.write(b"0\r\n\r\n")


def walk(messages: list[dict[str, str]]) -> dict[str, Any]:  # noqa: PLR0912
    """What somebody decided who bought a blue mug at the demo shop, by what the last message shows."""
    shown = messages[-1]["content"]
    page = shown.partition("\n")[0]
    things = [(int(found[0]), *found[1:]) for found in _THING.findall(shown)]
    told = " ".join(message["content"] for message in messages if message["role"] == "user")

    def decide(kind: str, number: int | None, thought: str, value: str | None = None) -> dict[str, Any]:
        action = {"kind": kind, "element": number, "value": value}
        return {"thought": thought, "action": action, "sentiment": 0.4, "note": "A blue mug it is."}

    if DIRECTION in told:
        if '"kind": "back"' in next((m["content"] for m in reversed(messages) if m["role"] == "assistant"), ""):
            return decide("finish", None, "Told to stop, so I stop.")
        return decide("back", None, "Told to go back, so I do.")
    if "/order/confirmed" in page:
        return decide("finish", None, "It is ordered.")
    for number, kind, label, _, value in things:
        name = label.partition("*")[0].strip().lower()
        if kind == "text" and not value and name in _CUSTOMER:
            return decide("fill", number, f"My {name}.", _CUSTOMER[name])
        if kind == "select" and name == "country" and value == "Please choose":
            return decide("choose", number, "My country.", "Deutschland")
        if kind == "checkbox" and value != "on":
            return decide("check", number, "Yes, yes.", "on")
    for wanted in ("place order", "order now", "buy now", "add to cart", "add to basket"):
        for number, kind, label, _, _ in things:
            if kind == "button" and wanted in label.lower():
                return decide("press", number, f"{label}!")
    for wanted in ("no, thanks", "no thanks", "/checkout", "/product/", "blue mug"):
        for number, kind, label, href, _ in things:
            if kind == "link" and (wanted in label.lower() or wanted in href):
                return decide("follow", number, f"On to {label}.")
    return decide("give_up", None, "I am lost.")


_CUSTOMER = {
    "full name": "Kim Example",
    "e-mail address": "kim@mail.example",
    "phone": "+49 30 123456",
    "street and number": "Main Street 1",
    "postal code": "12345",
    "city": "Springfield",
}


async def _read(reader: asyncio.StreamReader, begun: bytes) -> tuple[str, str, dict[str, str], bytes] | None:
    head = begun + await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        if ":" in line:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", 0))
    if length > _MAX_BYTES:
        raise ValueError
    return method, path, headers, await reader.readexactly(length)


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in headers.items())]
    if "Content-Type" not in headers:
        lines.append("Content-Type: application/json")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: Any,
    headers: dict[str, str] | None = None,
    *,
    raw: bool = False,
) -> None:
    text = body.encode() if raw else json.dumps(body).encode()
    writer.write(_head(status, {"Content-Length": str(len(text))} | (headers or {})) + text)
    await writer.drain()


def _error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


async def main() -> None:
    """Serve on a free port of loopback, and say which."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    server = await asyncio.start_server(Server().serve, sock=listener, limit=_MAX_BYTES)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
