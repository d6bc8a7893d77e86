"""Lists that come in pages."""

from collections.abc import Iterator
from typing import Any

from tests.http_client import ApiClient


def pages(caller: ApiClient, path: str, *, rows: str = "items", **params: Any) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list, one after another; `rows` is the field that holds them."""
    cursor: str | None = None
    while True:
        page = caller.get(path, **params, **({} if cursor is None else {"cursor": cursor})).json()
        yield page[rows]
        cursor = page["next_cursor"]
        if cursor is None:
            return
