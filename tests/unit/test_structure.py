"""The layers: which part may import which, checked against the code and against strings that name modules."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tests.guard_mutations import GUARDS, PARTS
from tests.unit.syntax_trees import ROOT, nodes_by_module
from understudy.plugins.registry import ENVIRONMENT_GROUPS, MIND_GROUP, PROFILED_MIND_GROUP

#: Layer -> the layers that it may import, besides itself.
ALLOWED: dict[str, set[str]] = {
    "domain": set(),
    "faults": set(),
    "gc_tuning": set(),
    "settings": {"domain", "faults"},
    "plugins": {"domain"},
    "operations": {"domain", "envelopes"},
    # Data.
    "panels": set(),
    "envelopes": {"domain"},
    "documentation": {"domain", "envelopes"},
    "store": {"domain", "faults"},
    "sequencer": {"store", "faults"},
    "telemetry": {"domain", "settings"},
    "queue": {"domain", "faults", "settings", "store", "telemetry"},
    "client": {"domain", "operations", "envelopes"},
    "service": {
        *("domain", "faults", "settings", "plugins", "operations", "envelopes", "documentation"),
        *("store", "sequencer", "queue", "telemetry", "panels"),
    },
    "isolation": {"plugins"},
    "environments": {"domain", "plugins", "isolation"},
    "models": {"domain", "plugins", "isolation", "store", "queue", "telemetry"},
    "minds": {"domain", "plugins", "models"},
    "webhooks": {
        *("domain", "faults", "settings", "envelopes", "store", "sequencer", "telemetry", "isolation"),
    },
}
_BELOW_SERVICE = ALLOWED["service"]
ALLOWED |= {
    "admission": _BELOW_SERVICE | {"service"},
    "rest": _BELOW_SERVICE | {"service", "admission"},
    "mcp": _BELOW_SERVICE | {"service", "admission"},
    "cli": ALLOWED["client"] | {"client", "documentation", "stdio"},
    "stdio": {"domain", "client"},
    "worker": {
        *("domain", "faults", "gc_tuning", "settings", "plugins", "store", "sequencer", "queue", "telemetry"),
        *("isolation", "environments", "minds", "models"),
    },
}
ALLOWED["api"] = _BELOW_SERVICE | {"gc_tuning", "service", "admission", "rest", "mcp"}
ALLOWED["deploy"] = set(ALLOWED)

_SERVER_PACKAGES = {
    *("amqp", "celery", "fastapi", "kombu", "mcp", "prometheus_client", "pydantic_settings", "redis"),
    *("selectolax", "sqlalchemy", "sqlmodel", "starlette", "structlog", "uvicorn"),
}
#: Layer -> packages of others that nothing in it imports.
FORBIDDEN_PACKAGES = {
    **dict.fromkeys(("operations", "envelopes", "documentation", "client", "cli"), _SERVER_PACKAGES),
    "store": {"prometheus_client", "pydantic_settings", "celery", "kombu", "redis"},
    "service": {"fastapi", "starlette", "mcp", "celery", "kombu", "sqlalchemy", "sqlmodel"},
    "rest": {"mcp", "celery", "kombu", "sqlalchemy", "sqlmodel"},
    "stdio": _SERVER_PACKAGES - {"mcp"},
    "mcp": {"fastapi", "celery", "kombu", "sqlalchemy", "sqlmodel"},
    "worker": {"fastapi", "starlette", "mcp"},
    "webhooks": {"fastapi", "starlette", "mcp", "celery", "kombu"},
}

#: A string that names a module of ours: `understudy.worker.app`, `understudy.minds.llm:LanguageModelMind`.
_ENTRY_POINT_GROUPS = {ENVIRONMENT_GROUPS.rstrip("."), MIND_GROUP, PROFILED_MIND_GROUP}
_MODULE_NAME = re.compile(r"understudy(?:\.[a-z_]+)+")


class _Import(NamedTuple):
    file: Path
    layer: str
    name: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)} imports {self.name}"


def _layer(path: Path) -> str:
    folder = next(parent for parent in path.parents if parent.name == "understudy")
    return path.relative_to(folder).parts[0].removesuffix(".py")


@cache
def _is_module(name: str) -> bool:
    tail = Path(*name.split("."))
    return any((ROOT / part / tail).is_dir() or (ROOT / part / tail).with_suffix(".py").is_file() for part in PARTS)


def _named(node: ast.AST) -> Iterator[str]:
    """The modules that a node imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        whole = (f"{node.module}.{alias.name}" for alias in node.names)
        yield from (name if _is_module(name) else node.module for name in whole)


def _strings(nodes: list[ast.AST]) -> Iterator[str]:
    """The modules of ours that strings name; docstrings may name any."""
    docstrings = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from filter(_is_module, _MODULE_NAME.findall(node.value))


@cache
def _imports() -> list[_Import]:
    """Every import, and every string that names a module, of all files."""
    found = []
    for path, nodes in nodes_by_module().items():
        strings = (name for name in _strings(nodes) if name not in _ENTRY_POINT_GROUPS)
        names = chain(chain.from_iterable(map(_named, nodes)), strings)
        found += [_Import(path, _layer(path), name) for name in names]
    return found


def test_every_layer_is_known() -> None:
    assert set(map(_layer, nodes_by_module())) == set(ALLOWED) - {"panels"}


def test_imports_point_downwards() -> None:
    wrong = [
        str(one)
        for one in _imports()
        if one.name.startswith("understudy.") and one.name.split(".")[1] not in ALLOWED[one.layer] | {one.layer}
    ]
    assert not wrong


def test_the_layers_form_no_cycle() -> None:
    done: set[str] = set()
    while ready := {layer for layer in ALLOWED if layer not in done and ALLOWED[layer] - {layer} <= done}:
        done |= ready
    assert done == set(ALLOWED)


def test_layers_do_not_import_packages_that_are_forbidden_to_them() -> None:
    wrong = [str(one) for one in _imports() if one.name.split(".")[0] in FORBIDDEN_PACKAGES.get(one.layer, ())]
    assert not wrong


def test_the_domain_imports_the_standard_library_only() -> None:
    wrong = [
        str(one)
        for one in _imports()
        if one.layer == "domain" and one.name.split(".")[0] not in {*sys.stdlib_module_names, "understudy"}
    ]
    assert not wrong


def test_only_one_folder_overrides_celery_and_kombu() -> None:
    """No other module has a subclass of a class of theirs."""
    celery = {"celery", "kombu", "billiard", "amqp"}
    home = ROOT / "shared" / "understudy" / "queue" / "celery"
    wrong = []
    for path, nodes in nodes_by_module().items():
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        theirs = {
            alias.asname or alias.name
            for node in imports
            if (node.module or "").split(".")[0] in celery
            for alias in node.names
        }
        classes = [node for node in nodes if isinstance(node, ast.ClassDef) and home not in path.parents]
        bases = [(node.name, base.id) for node in classes for base in node.bases if isinstance(base, ast.Name)]
        wrong += [f"{path.relative_to(ROOT)}: {name}" for name, base in bases if base in theirs]
    assert not wrong


def _imported_at_start(module: str) -> set[str]:
    """Everything that the import of a module of ours imports, directly or by other modules of ours."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts[1:]): path for path in nodes_by_module()}
    found: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        found.add(name)
        path = files.get(name) or files.get(f"{name}.__init__")
        statements = nodes_by_module()[path][0].body if path else []  # type: ignore[attr-defined]
        todo |= set(chain.from_iterable(map(_named, statements))) - found
    return found


def test_the_api_starts_without_the_mcp_sdk() -> None:
    imported = _imported_at_start("understudy.api.app")
    assert "understudy.mcp.lazy_app" in imported
    assert not [name for name in imported if name.split(".")[0] in {"mcp", "mcp_types"}]


def test_the_steps_of_a_run_import_no_store() -> None:
    names = [one.name for one in _imports() if one.file.name == "steps.py"]
    assert names
    assert not [name for name in names if name.startswith("understudy.store")]


def test_every_portion_is_typed() -> None:
    assert all((ROOT / part / "understudy" / "py.typed").exists() for part in PARTS)


#: The methods of the clients follow from the operations.
GENERATED = {ROOT / "api/understudy/client" / name for name in ("methods.py", "async_methods.py")}


def test_files_stay_small_enough_to_read() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in nodes_by_module()
        if "versions" not in path.parts
        and path not in GENERATED
        and (lines := len(path.read_text().splitlines())) > 350
    ]
    assert not long


def test_every_module_has_a_docstring() -> None:
    assert not [path for path, (module, *_) in nodes_by_module().items() if not ast.get_docstring(module)]


def test_every_guard_of_guard_mutations_exists_once() -> None:
    gone = [guard.name for guard in GUARDS if (ROOT / guard.file).read_text().count(guard.text) != 1]
    assert not gone
