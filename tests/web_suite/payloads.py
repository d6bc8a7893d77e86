"""Payloads: what a request sends, in a form that can be compared and stored."""

import json
import re
from typing import NamedTuple

from tests.servers import ROOT

#: What Chromium sends in each case; `make web-suite ARGS=--record` writes it.
RECORDED = ROOT / "tests" / "web_suite" / "chromium_payloads.json"
#: Path of the page of every case.
PAGE = "/dir/page.html?x=1"
_BOUNDARY = re.compile(r"boundary=(.+)")


class Payload(NamedTuple):
    """One request: `target` is path and query, `body` has one character per byte."""

    method: str
    target: str
    content_type: str = ""
    body: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.method, self.target, self.content_type, repr(self.body))))


def body_text(content_type: str, body: bytes) -> tuple[str, str]:
    """Returns type and body with a boundary that does not change from request to request."""
    text = body.decode("latin-1")
    if found := _BOUNDARY.search(content_type):
        return content_type.replace(found[1], "BOUNDARY"), text.replace(found[1], "BOUNDARY")
    return content_type, text


def recorded() -> dict[str, Payload | None]:
    """Returns what Chromium sent in each case; None: it sent nothing."""
    stored = json.loads(RECORDED.read_text("utf-8"))
    return {name: Payload(*sent) if sent else None for name, sent in stored["payloads"].items()}


def record(payloads: dict[str, Payload | None], browser: str) -> None:
    """Stores what Chromium sent."""
    stored = {"browser": browser, "payloads": {name: list(sent) if sent else None for name, sent in payloads.items()}}
    RECORDED.write_text(json.dumps(stored, indent=1, ensure_ascii=True) + "\n", "utf-8")
