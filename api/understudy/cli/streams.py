"""Makes the standard streams accept every text: no command fails because its terminal knows only ASCII."""

import codecs
import errno
import os
import sys
import unicodedata
from collections.abc import Sequence

#: Name of the error handler that writes a similar text instead of what an encoding lacks.
_SIMILAR = "understudy.similar"
#: Typographic characters of our own output, as ASCII.
_ASCII = {
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{MIDDLE DOT}": "|",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{BULLET}": "*",
    "\N{LATIN SMALL LETTER SHARP S}": "ss",
}
#: Errors of a full or broken device.
_DEVICE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def accept_every_text() -> None:
    """Makes stdout and stderr write a similar text instead of characters that their encoding lacks. Repeatable."""
    codecs.register_error(_SIMILAR, _similar)
    for stream in (sys.stdout, sys.stderr):
        # A stream that a program put in place may have no encoding.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_SIMILAR)


def decoded(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments as UTF-8 where the locale's encoding could not decode them."""
    return [_decoded(argument) for argument in arguments]


def is_device_error(error: OSError) -> bool:
    """Returns True if a write failed because the disk is full or the device is broken."""
    return error.errno in _DEVICE_ERRORS


def discard_output() -> None:
    """Discards what stdout still has to write: the interpreter must not fail again when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _decoded(argument: str) -> str:
    try:
        return argument if argument.isascii() else os.fsencode(argument).decode()
    except UnicodeError:
        return argument


def _similar(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_similar_character, text)), error.end


def _similar_character(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    if "\u2500" <= character <= "\u257f":
        return "|" if character in "│┃║" else "-" if character in "─━═╴╶" else "+"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
