"""Who may import whom: the architecture, held against the code."""

import ast
import sys
from pathlib import Path

import pytest

from tests.guards import GUARDS

ROOT = Path(__file__).parents[2]
OURS = ("api", "deploy", "shared", "worker")

#: folder -> top-level names that nothing in it imports.
FORBIDDEN = {
    "shared": {"api", "worker", "deploy", "fastapi", "mcp"},
    "api": {"worker", "deploy", "celery", "kombu", "sqlalchemy", "sqlmodel"},
    "worker": {"api", "deploy", "fastapi", "starlette", "mcp"},
}


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def _modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_layers_import_downwards_only(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules(folder)
        for name in _imports(path)
        if name.split(".")[0] in FORBIDDEN[folder]
    ]
    assert not wrong


def test_the_domain_knows_the_standard_library_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules("shared/domain")
        for name in _imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("shared.domain")
    ]
    assert not wrong


def test_files_stay_small_enough_to_read() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for folder in OURS
        for path in _modules(folder)
        if "versions" not in path.parts and (lines := len(path.read_text().splitlines())) > 350
    ]
    assert not long


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for folder in OURS
        for path in _modules(folder)
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_every_guard_is_where_its_removal_looks_for_it() -> None:
    gone = [guard.name for guard in GUARDS if (ROOT / guard.file).read_text().count(guard.text) != 1]
    assert not gone
