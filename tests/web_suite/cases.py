"""Cases: small pages, what is done on them, and why the request differs from that of Chromium, if it does."""

from typing import NamedTuple

#: Codecs of Python for encodings that it knows by another name.
_CODECS = {"iso-8859-1": "cp1252", "iso-8859-8-i": "iso-8859-8", "shift_jis": "cp932", "gbk": "gb18030"}


class Case(NamedTuple):
    """One page and the steps on it: `fill A=x`, `choose A=One`, `check A`, `uncheck A`, `press A`, `enter A`."""

    name: str
    html: str
    steps: tuple[str, ...] = ("press Send",)
    #: Encoding of the page and `charset` of its Content-Type; empty: UTF-8 without a declaration.
    charset: str = "utf-8"
    #: Content-Type of the page.
    content_type: str = "text/html"
    #: Why the request differs from that of Chromium; empty: it must not.
    differs: str = ""

    def page_bytes(self) -> bytes:
        """Returns the body of the page."""
        return self.html.encode(_CODECS.get(self.charset, self.charset) or "utf-8", "xmlcharrefreplace")

    def header(self) -> str:
        """Returns the Content-Type of the page."""
        return f"{self.content_type}; charset={self.charset}" if self.charset else self.content_type


SEND = "<button aria-label=Send>Send</button>"


def post(fields: str, attributes: str = "", send: str = SEND) -> str:
    """Returns a form that is sent by POST."""
    return f"<!doctype html><form method=post action=/echo {attributes}>{fields}{send}</form>"


def get(fields: str, attributes: str = "", send: str = SEND) -> str:
    """Returns a form that is sent by GET."""
    return f"<!doctype html><form action=/echo {attributes}>{fields}{send}</form>"
