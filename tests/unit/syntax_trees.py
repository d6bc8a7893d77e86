"""The syntax trees of all modules, parsed once per process."""

import ast
from functools import cache
from pathlib import Path

from tests.guard_mutations import PARTS

ROOT = Path(__file__).parents[2]


@cache
def nodes_by_module() -> dict[Path, list[ast.AST]]:
    """The nodes of each module's tree; the first one is the module itself."""
    paths = sorted(path for part in PARTS for path in (ROOT / part / "understudy").rglob("*.py"))
    return {path: list(ast.walk(ast.parse(path.read_text()))) for path in paths}
