"""Encodings: decode the body of a page as browsers do."""

import codecs
import re

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
#: The encodings of the web. Others that Python knows are not text encodings, or are very slow.
_WEB_CODECS = re.compile(
    r"utf-8|utf-16(?:-[bl]e)?|ascii|iso8859-\d+|cp125\d|cp866|cp874|cp932|cp949|koi8-[ru]|gb2312|gbk|gb18030|big5|"
    r"big5hkscs|euc_jp|euc_kr|shift_jis|iso2022_jp|mac-roman|mac-cyrillic|tis-620"
)


def decode(body: bytes, parameters: str) -> str:
    """Returns the text of `body`; `parameters` are those of its Content-Type. Unreadable bytes become U+FFFD."""
    if body.startswith(codecs.BOM_UTF8):
        return body.decode("utf-8-sig", "replace")
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace")
    declared = re.search(r"charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", parameters, re.IGNORECASE)
    if declared:
        return body.decode(_codec(declared[1]), "replace")
    in_body = _CHARSET.search(body, 0, 2_048)
    name = _codec(in_body[1].decode("ascii")) if in_body else "utf-8"
    # The declaration was readable as ASCII, so the page is not UTF-16, even if it says so.
    return body.decode("utf-8" if name.startswith("utf-16") else name, "replace")


def _codec(name: str) -> str:
    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        return "utf-8"
    if known in ("ascii", "iso8859-1"):
        # As browsers do: pages that declare Latin-1 use Windows-1252.
        return "cp1252"
    return known if _WEB_CODECS.fullmatch(known) else "utf-8"
