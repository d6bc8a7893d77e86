"""Requests whose end, or whose lines, two servers could read differently: they are refused.

h11 0.16 accepts them, as HTTP allows: of two framings it takes the chunks, and it joins folded lines. A proxy before
the API that takes the length instead passes on, as a body, what the API would run as a second request.
"""

import re
from typing import Any

import h11

_FOLDED = re.compile(rb"\n[ \t]")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_VERSIONS = {b"1.0", b"1.1"}


class StrictConnection(h11.Connection):
    """The state of a connection, which refuses such requests, and versions that HTTP does not have."""

    def next_event(self) -> Any:
        """Returns the next event; raises RemoteProtocolError, which the server answers with 400 and the end."""
        received = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        event = super().next_event()
        if isinstance(event, h11.Request):
            head = _END_OF_HEAD.split(received.lstrip(b"\r\n"), maxsplit=1)[0]
            if reason := _ambiguity(event, is_folded=_FOLDED.search(head) is not None):
                raise h11.RemoteProtocolError(reason)
        return event


def _ambiguity(request: h11.Request, *, is_folded: bool) -> str:
    """Returns the reason to refuse a request; empty if there is none."""
    names = {name for name, _ in request.headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        return "Content-Length and Transfer-Encoding exclude each other"
    if b"transfer-encoding" in names and request.http_version == b"1.0":
        return "HTTP/1.0 has no Transfer-Encoding"
    if request.http_version not in _VERSIONS:
        return "The version of HTTP is unknown"
    return "A field goes on in the next line" if is_folded else ""
