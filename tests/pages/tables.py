"""Markdown tables."""

from collections.abc import Iterable


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; columns without anything in them are left out. Nothing for no rows."""
    names, cells = list(columns), [list(row) for row in rows]
    kept = [k for k in range(len(names)) if any(row[k] for row in cells)]
    lines = [[names[k] for k in kept], *([row[k].replace("|", "\\|") for k in kept] for row in cells)]
    shown = ["| " + " | ".join(line) + " |" for line in lines]
    shown.insert(1, "|" + "---|" * len(kept))
    return "\n".join(shown) + "\n" if cells else ""
