"""Cursors: opaque tokens for the next page of a list, bound to that list.

A cursor contains a hash of its position and of the list's criteria, including the workspace. Any other list
rejects it.
"""

import base64
import hashlib
import hmac
import json

from understudy.domain.errors import ValidationError

_SEAL_SIZE = 12


def encode_cursor(position: str, *list_key: object) -> str:
    """Returns a cursor for `position` in the list that `list_key` identifies."""
    return base64.urlsafe_b64encode(_seal(position, list_key) + position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *list_key: object) -> str:
    """Returns the position of a cursor of the same list. Raises ValidationError for any other cursor."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = raw[_SEAL_SIZE:].decode()
    except ValueError as error:
        raise _cursor_mismatch() from error
    # Compares the encoded form: base64 often has several encodings for one value.
    if not hmac.compare_digest(cursor.encode(), encode_cursor(position, *list_key).encode()):
        raise _cursor_mismatch()
    return position


def _seal(position: str, list_key: tuple[object, ...]) -> bytes:
    content = json.dumps([position, *map(str, list_key)]).encode()
    return hashlib.blake2b(content, digest_size=_SEAL_SIZE).digest()


def _cursor_mismatch() -> ValidationError:
    return ValidationError("cursor must be a next_cursor returned by this list.")
