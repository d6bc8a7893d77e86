"""Cursors: opaque tokens for the next page of a list, bound to that list.

A cursor carries a hash of its position and of all that its list is selected by, the workspace included. Any
other list refuses it.
"""

import base64
import hashlib
import hmac
import json

from understudy.domain.errors import ValidationError

_SEAL_SIZE = 12


def encode_cursor(position: str, *of: object) -> str:
    """A cursor that points to `position` in the list that `list_key` tells from all others."""
    return base64.urlsafe_b64encode(_seal(position, of) + position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *of: object) -> str:
    """Returns the position of a cursor of the same list. Raises ValidationError for any other cursor."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = raw[_SEAL_SIZE:].decode()
    except ValueError as error:
        raise _cursor_mismatch() from error
    # Compared as it was given out: base64 has more than one way to write most things.
    if not hmac.compare_digest(cursor.encode(), encode_cursor(position, *of).encode()):
        raise _cursor_mismatch()
    return position


def _seal(position: str, of: tuple[object, ...]) -> bytes:
    sealed = json.dumps([position, *map(str, of)]).encode()
    return hashlib.blake2b(sealed, digest_size=_SEAL_SIZE).digest()


def _cursor_mismatch() -> ValidationError:
    return ValidationError("cursor must be a next_cursor returned by this list.")
