"""Runs the MCP conformance suite against the server: `make mcp-conformance`.

The suite expects a server that has its example tools, prompts and resources. `EXPECTED` has the scenarios that apply to
ours. Exits 1 if one of them fails, or if another one passes that is not listed.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from tests.servers import ROOT, serve_in_thread
from understudy.api.app import create_app
from understudy.deploy.bootstrap import ensure_default_workspace
from understudy.deploy.migrate import migrate
from understudy.settings import Settings

FOLDER = ROOT / "build" / "mcp-conformance"
#: The suite needs Node 22.
NODE = FOLDER / "node_modules" / ".bin" / "node"


class Run(NamedTuple):
    """One run of a version of the suite."""

    version: str
    options: tuple[str, ...]
    expected: frozenset[str]


_BOTH = frozenset(
    {
        "server-initialize",
        "ping",
        "tools-list",
        "server-sse-multiple-streams",
        "resources-list",
        "dns-rebinding-protection",
    }
)
RUNS = (
    Run("stable", (), _BOTH),
    Run("alpha", (), _BOTH | {"server-session-lifecycle"}),
    # Without prompts, completion and tools that ask back; `caching` fails for prompts alone.
    Run(
        "alpha",
        ("--requirements", "2026-07-28"),
        frozenset(
            {
                *("tools-list", "server-sse-multiple-streams", "resources-list", "dns-rebinding-protection"),
                *("sep-2164-resource-not-found", "input-required-result-missing-input-response"),
                *("input-required-result-unsupported-methods", "input-required-result-ignore-extra-params"),
                *("input-required-result-validate-input", "tasks-status-notifications", "http-header-validation"),
            }
        ),
    ),
)
_RESULT = re.compile(r"^([✓✗]) ([\w-]+): (\d+) passed, (\d+) failed$", re.MULTILINE)


def main() -> int:
    wrong = 0
    with _server() as address:
        for run in RUNS:
            suite = FOLDER / run.version / "node_modules" / ".bin" / "conformance"
            command = [str(NODE), str(suite), "server", "--url", f"{address}/mcp", *run.options]
            output = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600).stdout
            results = {name: mark == "✓" for mark, name, _, _ in _RESULT.findall(output)}
            passed = {name for name, is_passed in results.items() if is_passed}
            print(f"{run.version} {' '.join(run.options)}: {len(passed)} of {len(results)} scenarios passed")
            for name in sorted(passed ^ run.expected):
                wrong += 1
                print(f"  {name} {'passed and is not listed' if name in passed else 'failed'}")
    return min(wrong, 1)


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """Serves the API; the suite sends no token, so each request gets one."""
    with tempfile.TemporaryDirectory() as folder:
        # Nothing listens at the broker's address: the suite starts no run.
        settings = Settings(data_dir=Path(folder), broker_url="redis://127.0.0.1:1/0")
        migrate(settings)
        ensure_default_workspace(settings)
        token = (settings.data_dir / "token").read_text().strip()
        with serve_in_thread(_with_token(create_app(settings), token)) as address:
            yield address


def _with_token(app: ASGIApp, token: str) -> ASGIApp:
    async def authorized(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {token}".encode())]}
        await app(scope, receive, send)

    return authorized


if __name__ == "__main__":
    sys.exit(main())
