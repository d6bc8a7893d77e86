"""Encodings: decode the body of a page as browsers do, by the labels and rules of the Encoding and HTML standards."""

import codecs
import re
from typing import NamedTuple

import webencodings

_PRESCAN_BYTES = 1_024
_WINDOWS = webencodings.Encoding("windows-1252", codecs.lookup("cp1252"))
_PARAMETER = re.compile(r"""charset\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;"',]+))""", re.IGNORECASE)
_CONTENT = re.compile(rb"""charset[\s\0]*=[\s\0]*(?:"([^"]*)"|'([^']*)'|([^\s;"']+))""", re.IGNORECASE)
_XML = re.compile(rb"""<\?xml[^>]*?encoding[\x00-\x20]*=[\x00-\x20]*(?:"([^"]*)"|'([^']*)')""")
#: Comments and other tags are passed over, so that nothing in them counts.
_TAG = re.compile(
    rb"""<!--(?:-?>|.*?-->) | <meta(?=[\s/])(?P<meta>(?:[^>"']++|"[^"]*+"|'[^']*+')*+)>
    | </?[a-z](?:[^>"']++|"[^"]*+"|'[^']*+')*+> | <[!/?][^>]*+>""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(rb"""([^\s"'<>/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++)))?+""")


class Decoded(NamedTuple):
    """The text of a body and the name of its encoding."""

    text: str
    charset: str


def decode(body: bytes, parameters: str, *, is_html: bool = True) -> Decoded:
    """Returns the text of `body`; `parameters` are those of its Content-Type. Unreadable bytes become U+FFFD."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16le"),
        (codecs.BOM_UTF16_BE, "utf-16be"),
    ):
        if body.startswith(mark):
            return Decoded(body[len(mark) :].decode(name, "replace"), name)
    declared = _PARAMETER.search(parameters)
    encoding = _lookup(next(filter(None, declared.groups()), "")) if declared else None
    if encoding is None and is_html:
        encoding = _declared_in(body[:_PRESCAN_BYTES])
    if encoding is None:
        return _undeclared(body)
    # Browsers decode the smaller encoding as the larger one.
    codec = "gb18030" if encoding.name == "gbk" else encoding.codec_info.name
    if encoding.name == "replacement":
        return Decoded("\ufffd" if body else "", "replacement")
    if encoding.name == "x-user-defined":
        return Decoded(str(encoding.codec_info.decode(body, "replace")[0]), str(encoding.name))
    return Decoded(body.decode(codec, "replace"), str(encoding.name))


def _undeclared(body: bytes) -> Decoded:
    """Decodes as UTF-8, and as Windows-1252 if it is not. The end of the body may be missing."""
    try:
        return Decoded(body.decode(), "utf-8")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and not body[: error.start].isascii():
            return Decoded(body[: error.start].decode(), "utf-8")
        return Decoded(body.decode("cp1252", "replace"), "windows-1252")


def _declared_in(start: bytes) -> webencodings.Encoding | None:
    """Returns the encoding that the beginning of a page declares."""
    if start.startswith((b"<\0?\0x\0", b"\0<\0?\0x")):
        return webencodings.lookup("utf-16le" if start.startswith(b"<") else "utf-16be")
    for tag in _TAG.finditer(start):
        if tag["meta"] is not None and (found := _lookup(_meta_label(tag["meta"]))) is not None:
            return _readable_as_ascii(found)
    if found_xml := _XML.match(start):
        declared = _lookup((found_xml[1] or found_xml[2] or b"").decode("latin-1"))
        return _readable_as_ascii(declared) if declared else None
    return None


def _meta_label(attributes: bytes) -> str:
    found: dict[bytes, bytes] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(attributes):
        found.setdefault(name.lower(), double or single or bare)
    if label := found.get(b"charset"):
        return label.decode("latin-1")
    if found.get(b"http-equiv", b"").lower() == b"content-type" and (
        said := _CONTENT.search(found.get(b"content", b""))
    ):
        return next(filter(None, said.groups()), b"").decode("latin-1")
    return ""


def _readable_as_ascii(encoding: webencodings.Encoding) -> webencodings.Encoding:
    """Returns the encoding of a page whose declaration was readable as ASCII: it is not UTF-16, even if it says so."""
    if encoding.name.startswith("utf-16"):
        return webencodings.UTF8
    return _WINDOWS if encoding.name == "x-user-defined" else encoding


def _lookup(label: str) -> webencodings.Encoding | None:
    return webencodings.lookup(label) if len(label) <= 40 else None
