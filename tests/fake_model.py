"""A chat-completions server that answers as its model says.

It answers `POST /v1/chat/completions` whole or streamed, with usage; errors are JSON with `error.message`.
The models:

- `walker`: buys a blue mug at the demo shop, by what the last message shows;
- `walker:<seconds>`: the same, but each answer takes that long;
- `lingerer`: the same, but on a product's page it never answers, unless it got `DIRECTION`;
- `script:<name>`: the answers of `scripts[name]`, one per request, the last one repeated. Each is `{"status",
  "headers", "json" | "text" | "content" | "decision", "delay_s", "drip_s", "hang", …}`.
"""

import asyncio
import gzip
import json
import re
import time
from typing import Any

from starlette.requests import Request

_ELEMENT = re.compile(r"^\[(\d+)\] (\w+) \"([^\"]*)\"(?: -> (\S+))?(?: = \"([^\"]*)\")?", re.MULTILINE)

#: The instruction after which a person buys nothing.
DIRECTION = "Go back one page, then stop."


class ModelServer:
    """An ASGI app. Records each request with its end: `open`, `answered`, or `closed` by the client."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.scripts: dict[str, list[dict[str, Any]]] = {}
        #: The only key that is accepted; None accepts any.
        self.key: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        entry = {"at": time.monotonic(), "headers": dict(request.headers), "body": await request.json(), "end": "open"}
        self.requests.append(entry)
        answering = asyncio.ensure_future(self._answer(_Response(send), request, entry["body"]))
        disconnect = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({answering, disconnect}, return_when=asyncio.FIRST_COMPLETED)
            entry["ended_at"] = time.monotonic()
            entry["end"] = "answered" if answering.done() else "closed"
        finally:
            answering.cancel()
            disconnect.cancel()
            await asyncio.gather(answering, disconnect, return_exceptions=True)

    async def _answer(self, response: "_Response", request: Request, body: dict[str, Any]) -> None:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key not in (None, key):
            await response.send(401, _error(f"Incorrect API key provided: {key}", "invalid_api_key"))
            return
        model = str(body["model"])
        messages = body["messages"]
        name, _, delay_s = model.partition(":")
        if name == "lingerer" and "/product/" in _page(messages) and DIRECTION not in json.dumps(messages):
            await asyncio.Event().wait()
        if name in {"lingerer", "walker"}:
            await asyncio.sleep(float(delay_s or 0))
            await response.complete(body, json.dumps(walk(messages)))
        elif name == "script" and (script := self.scripts.get(model.removeprefix("script:"))):
            await response.perform(body, script.pop(0) if len(script) > 1 else script[0])
        else:
            await response.send(404, _error(f"The model `{model}` does not exist", "model_not_found"))


class _Response:
    def __init__(self, send: Any) -> None:
        self._send = send

    async def start(self, status: int, **headers: str) -> None:
        headers = {"content-type": "application/json", **headers}
        listed = [(name.lower().replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": listed})

    async def write(self, part: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": more})

    async def send(self, status: int, body: Any, **headers: str) -> None:
        await self.start(status, **headers)
        await self.write(body if isinstance(body, bytes) else json.dumps(body).encode(), more=False)

    async def perform(self, request: dict[str, Any], act: dict[str, Any]) -> None:
        """Answers as a script says."""
        if act.get("refuses") and act["refuses"] in json.dumps(request):
            await self.send(400, _error(act["because"]))
            return
        await asyncio.sleep(act.get("delay_s", 0))
        if act.get("hang"):
            await asyncio.Event().wait()
        if act.get("hang_up") or act.get("endless"):
            await self.start(200, content_length="999999999")
        while act.get("endless"):
            await self.write(b" " * 65_536)
            await asyncio.sleep(0)
        if act.get("hang_up"):
            # The server closes the connection of an incomplete answer.
            return
        if "packed" in act:
            body = gzip.compress(act["packed"].encode() + b" " * act.get("spaces", 0), 9)
            await self.send(200, body, content_encoding="gzip")
        elif "text" in act:
            await self.send(200, act["text"].encode(), **act.get("headers", {}))
        elif "status" in act:
            error = act.get("json", _error(act.get("because", "it went wrong")))
            await self.send(act["status"], error, **act.get("headers", {}))
        elif "json" in act:
            await self.send(200, act["json"])
        else:
            content = act.get("content", act.get("decision"))
            content = content if isinstance(content, str) else json.dumps(content)
            await self.complete(request, content, **{name: act[name] for name in _OPTIONS & act.keys()})

    async def complete(
        self,
        request: dict[str, Any],
        content: str,
        *,
        drip_s: float = 0,
        finish_reason: str = "stop",
        refusal: str | None = None,
        usage: bool = True,
        broken: bool = False,
    ) -> None:
        """A chat completion, whole or streamed."""
        counted = {
            "prompt_tokens": sum(len(str(message["content"])) for message in request["messages"]) // 4,
            "completion_tokens": max(len(content) // 4, 1),
        }
        counted["total_tokens"] = sum(counted.values())
        body = {"id": "chatcmpl-1", "created": 1, "model": request["model"]}
        if request.get("stream"):
            body["object"] = "chat.completion.chunk"
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
            deltas += (
                [{"refusal": refusal}]
                if refusal
                else [{"content": content[k : k + 12]} for k in range(0, len(content), 12)]
            )
            events = [body | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
            events += [body | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]}]
            if (request.get("stream_options") or {}).get("include_usage"):
                events.append(body | {"choices": [], "usage": counted})
            lines = [*map(json.dumps, events), "[DONE]"]
            if broken:
                lines.insert(2, "{not json")
            await self.start(200, content_type="text/event-stream")
            parts = [f"data: {line}\n\n".encode() for line in lines]
        else:
            message = {"role": "assistant", "content": None if refusal else content, "refusal": refusal}
            choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
            body |= {"object": "chat.completion", "choices": [choice]} | ({"usage": counted} if usage else {})
            text = json.dumps(body).encode()
            await self.start(200, content_length=str(len(text)))
            size = 16 if drip_s else len(text)
            parts = [text[k : k + size] for k in range(0, len(text), size)]
        for part in parts:
            await self.write(part)
            await asyncio.sleep(drip_s)
        await self.write(b"", more=False)


_OPTIONS = {"drip_s", "finish_reason", "refusal", "usage", "broken"}


def _page(messages: list[dict[str, str]]) -> str:
    """The line of the last message that names the page."""
    return str(messages[-1]["content"]).partition("\n")[0]


def _error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def walk(messages: list[dict[str, str]]) -> dict[str, Any]:  # noqa: PLR0912
    """The decision of a person who buys a blue mug at the demo shop, from the last message."""
    shown = messages[-1]["content"]
    page = _page(messages)
    elements = [(int(found[0]), *found[1:]) for found in _ELEMENT.findall(shown)]
    said = " ".join(message["content"] for message in messages if message["role"] == "user")

    def decide(kind: str, number: int | None, thought: str, value: str | None = None) -> dict[str, Any]:
        action = {"kind": kind, "element": number, "value": value}
        return {"thought": thought, "action": action, "sentiment": 0.4, "note": "A blue mug it is."}

    if DIRECTION in said:
        if '"kind": "back"' in next((m["content"] for m in reversed(messages) if m["role"] == "assistant"), ""):
            return decide("finish", None, "I was asked to stop, so I stop.")
        return decide("back", None, "I was asked to go back, so I do.")
    if "/order/confirmed" in page:
        return decide("finish", None, "It is ordered.")
    for number, kind, label, _, value in elements:
        name = label.partition("*")[0].strip().lower()
        if kind == "text" and not value and name in _CUSTOMER:
            return decide("fill", number, f"My {name}.", _CUSTOMER[name])
        if kind == "select" and name == "country" and value == "Please choose":
            return decide("choose", number, "My country.", "Deutschland")
        if kind == "checkbox" and value != "on":
            return decide("check", number, "Yes, yes.", "on")
    for wanted in ("place order", "order now", "buy now", "add to cart", "add to basket"):
        for number, kind, label, _, _ in elements:
            if kind == "button" and wanted in label.lower():
                return decide("press", number, f"{label}!")
    for wanted in ("no, thanks", "no thanks", "/checkout", "/product/", "blue mug"):
        for number, kind, label, href, _ in elements:
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
