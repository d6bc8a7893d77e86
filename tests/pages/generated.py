"""The parts of reference pages that are made from the program itself: `make pages` writes them anew.

In a page such a part stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.pages.cli_tables import commands, common_options
from tests.pages.limit_tables import workspace_limits
from tests.pages.mcp_tables import tools
from tests.pages.metric_tables import metrics
from tests.pages.rest_tables import endpoints, objects
from tests.pages.tables import table
from understudy.documentation import FOLDER, SLUGS, list_docs

PAGES = (
    FOLDER / "README.md",
    FOLDER / "metrics.md",
    FOLDER / "operations.md",
    *(FOLDER / f"{slug}.md" for slug in SLUGS),
)


def _index() -> str:
    entries = list_docs(None, len(SLUGS)).items
    return table(
        ("page", "what it tells"),
        [(f"[`{entry.slug}`]({entry.slug}.md)", entry.summary) for entry in entries],
    )


_MAKERS: dict[str, Callable[[], str]] = {
    "index": _index,
    "endpoints": endpoints,
    "objects": objects,
    "tools": tools,
    "commands": commands,
    "common_options": common_options,
    "metrics": metrics,
    "workspace_limits": workspace_limits,
}
_PART = re.compile(r"(?<=<!-- made: )(\w+)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)


def parts_of(page: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each part of a page that is made."""
    return ((part[1], part[3]) for part in _PART.finditer(page.read_text()))


def make(name: str) -> str:
    """What such a part has to be."""
    return f"\n{_MAKERS[name]().strip()}\n\n"


def write_all() -> None:
    """Make all parts of all pages."""
    for page in PAGES:
        page.write_text(_PART.sub(lambda part: part[1] + part[2] + make(part[1]), page.read_text()))


if __name__ == "__main__":
    write_all()
