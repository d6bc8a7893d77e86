"""Form encoding: the entries of a form as the bytes of a request."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import webencodings

#: Letters, digits and these are sent as they are.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-._")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class Entry(NamedTuple):
    """One entry of a form; a file is always an absent one."""

    name: str
    value: str
    is_file: bool = False


def urlencoded(entries: Sequence[Entry], charset: str) -> str:
    """Returns the entries as `application/x-www-form-urlencoded`."""
    return "&".join(f"{_percent(entry.name, charset)}={_percent(entry.value, charset)}" for entry in entries)


def multipart(entries: Sequence[Entry], charset: str, boundary: str) -> bytes:
    """Returns the entries as `multipart/form-data`."""
    parts = []
    for name, value, is_file in entries:
        quoted = _LINE_BREAK.sub("%0D%0A", name).replace('"', "%22")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{quoted}"'
        head += '; filename=""\r\nContent-Type: application/octet-stream' if is_file else ""
        parts.append(encode(f"{head}\r\n\r\n{_lines(value)}\r\n", charset))
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def plain(entries: Sequence[Entry], charset: str) -> bytes:
    """Returns the entries as `text/plain`."""
    return encode("".join(f"{_lines(name)}={_lines(value)}\r\n" for name, value, _ in entries), charset)


def encode(text: str, charset: str) -> bytes:
    """Returns the bytes of `text`; a character that the encoding lacks becomes a reference such as `&#8364;`."""
    encoding = webencodings.lookup(charset) or webencodings.UTF8
    if encoding.name == "gbk":
        # The codec of Python lacks the sign that browsers send as one byte.
        return b"\x80".join(part.encode("gbk", "xmlcharrefreplace") for part in text.split("\u20ac"))
    return bytes(encoding.codec_info.encode(text, "xmlcharrefreplace")[0])


def output_encoding(label: str) -> str:
    """Returns the name of the encoding in which a page of encoding `label` sends its forms; empty if unknown."""
    encoding = webencodings.lookup(label)
    if encoding is None:
        return ""
    return "utf-8" if encoding.name in ("utf-16le", "utf-16be", "replacement") else str(encoding.name)


def charset_name(charset: str) -> str:
    """Returns the name of an encoding as a field `_charset_` sends it."""
    special = {"utf-8": "UTF-8", "shift_jis": "Shift_JIS", "big5": "Big5", "gbk": "GBK", "x-mac-cyrillic": charset}
    if charset in special:
        return special[charset]
    return charset if charset.startswith(("windows", "macintosh", "gb18030", "x-")) else charset.upper()


def _lines(text: str) -> str:
    return _LINE_BREAK.sub("\r\n", text)


def _percent(text: str, charset: str) -> str:
    return "".join(
        chr(byte) if byte in _PLAIN else "+" if byte == 0x20 else f"%{byte:02X}"
        for byte in encode(_lines(text), charset)
    )
