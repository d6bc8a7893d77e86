"""`make bench`, `make bench ROW=4`: measure, print the table, write JSON."""

import argparse
import importlib
import json
import logging
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.bench import rows
from tests.bench.figures import Comparison, table
from tests.bench.installation import Bench, opened
from tests.bench.machine import durability, machine, versions

STORES = ("sqlite", "postgresql")


def modules(numbers: Sequence[int]) -> list[ModuleType]:
    """The files of these rows, or of all.

    Each has `NUMBER`, `NAME`, and `measure(bench)`, which yields comparisons; those whose cost grows with
    something also have `grow(bench)`, which yields points. `STORES` names the stores where it matters.
    """
    names = sorted(found.name for found in pkgutil.iter_modules(rows.__path__))
    found = [importlib.import_module(f"{rows.__name__}.{name}") for name in names if name.startswith("row")]
    return [module for module in found if not numbers or module.NUMBER in numbers]


def measure(benches: Sequence[Bench], numbers: Sequence[int], *, growth: bool = False) -> dict[str, Any]:
    """Everything that was measured, as it is written."""
    compared: list[tuple[int, str, Comparison]] = []
    written: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for module in modules(numbers):
        for bench in benches:
            if bench.kind not in getattr(module, "STORES", STORES):
                continue
            began = time.monotonic()
            if growth:
                for point in module.grow(bench) if hasattr(module, "grow") else ():
                    told = {"row": module.NUMBER, "store": bench.kind, "line": point.line}
                    points.append(told | {"size": point.size, "seconds": point.seconds})
                    _tell(f"row {module.NUMBER} {bench.kind} {point.line}: {point.size} {point.seconds:.4f} s")
                continue
            for one in module.measure(bench):
                compared.append((module.NUMBER, bench.kind, one))
                head = {"row": module.NUMBER, "name": module.NAME, "store": bench.kind}
                written.append(head | one.as_json())
                _tell(table([compared[-1]]).splitlines()[-1])
            _tell(f"row {module.NUMBER}, {module.NAME}, {bench.kind}: {time.monotonic() - began:.1f} s")
    return {
        "machine": machine(),
        "versions": versions(benches[0]),
        "durability": {bench.kind: durability(bench) for bench in benches},
        "pairs": benches[0].pairs,
        "rows": written,
        "growth": points,
        "table": table(compared) if compared else "",
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--row", type=int, action="append", default=[], help="only this row; several times")
    parser.add_argument("--store", choices=STORES, action="append", default=[], help="only on this store")
    parser.add_argument("--pairs", type=int, default=5, help="samples of each, taken in turn")
    parser.add_argument("--smoke", action="store_true", help="once, tiny: does it work?")
    parser.add_argument("--growth", action="store_true", help="how cost grows with size, instead")
    parser.add_argument("--json", type=Path, default=None, help="where to write everything")
    options = parser.parse_args(arguments)
    logging.getLogger("understudy").setLevel(logging.ERROR)
    pairs = 1 if options.smoke else options.pairs
    with opened(options.store or STORES, pairs=pairs, smoke=options.smoke) as benches:
        measured = measure(benches, options.row, growth=options.growth)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(measured, indent=1) + "\n")
    print(measured["table"])  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
