"""Options: the options of a select in the order of the page."""

from collections.abc import Iterator

from selectolax.lexbor import LexborNode


def options_of(select: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Yields the options of a select and whether each is disabled.

    A CSS query would take the square of their number.
    """
    stack = [(child, False) for child in reversed(list(select.iter()))]
    while stack:
        node, disabled = stack.pop()
        if node.tag == "option":
            yield node, disabled or "disabled" in node.attributes
        elif node.tag not in ("select", "datalist", "template"):
            below = disabled or (node.tag == "optgroup" and "disabled" in node.attributes)
            stack += [(child, below) for child in reversed(list(node.iter()))]


def text_of(option: LexborNode) -> str:
    """Returns the text of an option without scripts."""
    parts: list[str] = []
    stack = [option.child]
    while stack:
        node = stack.pop()
        if node is None:
            continue
        stack.append(node.next)
        if node.tag == "-text":
            parts.append(node.text_content or "")
        elif node.tag not in ("script", "style"):
            stack.append(node.child)
    return "".join(parts)


def parent_tag(node: LexborNode) -> str:
    """Returns the tag around a node."""
    return (node.parent.tag or "") if node.parent is not None else ""
