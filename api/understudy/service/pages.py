"""Pages whose items have more than their rows, such as texts of other rows."""

from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel

from understudy.domain.page_size import MAX_VALUES_BYTES

Item = TypeVar("Item", bound=BaseModel)


def take_items(items: Iterable[Item]) -> list[Item]:
    """Returns the first of `items` that fit into MAX_VALUES_BYTES as JSON, at least one; builds one more at most."""
    taken: list[Item] = []
    size = 0
    for item in items:
        size += len(item.model_dump_json().encode())
        if taken and size > MAX_VALUES_BYTES:
            break
        taken.append(item)
    return taken
