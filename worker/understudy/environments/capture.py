"""Captures: the words of one node, which become the label of a control or a heading."""

from collections.abc import Callable

from selectolax.lexbor import LexborNode


class Capture:
    """Collects the words of a node; `finish` receives them when the node ends."""

    __slots__ = ("field_positions", "finish", "mem_id", "parts")

    def __init__(self, node: LexborNode, finish: Callable[["Capture", str], None]) -> None:
        self.mem_id = node.mem_id
        self.finish = finish
        self.parts: list[str] = []
        #: Positions of the fields inside the node.
        self.field_positions: list[int] = []
