"""What a store reads for its queries."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, event

from understudy.store.engine import Store

Seed = TypeVar("Seed")

#: The tables that grow with each run.
BIG = frozenset({"participant", "interaction", "event", "checkpoint", "usage", "delivery", "idempotency"})
_KINDS = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")


class QueryPlan(NamedTuple):
    """The plan of one statement, and its cost (on PostgreSQL)."""

    sql: str
    plan: str
    scans: list[str]
    ms: float = 0
    #: Pages of 8 KiB.
    pages: int = 0
    #: Rows of big tables that were read, also those that were dropped.
    rows: int = 0


def explain(
    store: Store, query: Callable[[Connection, Seed], object], it: Seed, *, small: bool = False
) -> list[QueryPlan]:
    """The plan of each statement of `query`; its writes are rolled back.

    With `small`, the store plans as if it were big: it reads a whole table only without an alternative.
    """
    found: dict[str, QueryPlan] = {}
    read_plan = _postgresql if store.engine.dialect.name == "postgresql" else _sqlite

    def see(connection: Connection, _: object, sql: str, given: Any, __: object, many: bool) -> None:
        if sql.lstrip().startswith(_KINDS) and sql not in found:
            cursor = connection.connection.cursor()
            found[sql] = read_plan(cursor, sql, given[0] if many else given)
            cursor.close()

    event.listen(store.engine, "before_cursor_execute", see)
    try:
        with store.engine.execution_options(write=True).connect() as connection:
            if small and connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            query(connection, it)
            connection.rollback()
    finally:
        event.remove(store.engine, "before_cursor_execute", see)
    return list(found.values())


def _sqlite(cursor: Any, sql: str, given: Any) -> QueryPlan:
    details = [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}", given).fetchall()]
    # In this order, it reads only one page of rows.
    in_order = not any("TEMP B-TREE" in detail for detail in details)
    scans = [one for one in details if _is_scan(one) and not (in_order and " ix_participant_created " in one)]
    return QueryPlan(sql, "\n".join(details), scans)


def _postgresql(cursor: Any, sql: str, given: Any) -> QueryPlan:
    # EXPLAIN ANALYZE executes the statement.
    cursor.execute("SAVEPOINT look")
    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", given)
    explained = cursor.fetchone()[0][0]
    cursor.execute("ROLLBACK TO SAVEPOINT look")
    big = [node for node in _nodes(explained["Plan"]) if node.get("Relation Name") in BIG]
    scans = [f"{node['Node Type']} of {node['Relation Name']}" for node in big if _reads_all(node)]
    plan = json.dumps(explained["Plan"], indent=1)
    pages = sum(explained["Plan"][f"Shared {kind} Blocks"] for kind in ("Hit", "Read"))
    return QueryPlan(sql, plan, scans, explained["Execution Time"], pages, sum(map(_rows, big)))


def _rows(node: dict[str, Any]) -> int:
    dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + dropped) * node["Actual Loops"])


def _is_scan(detail: str) -> bool:
    """Whether it reads all rows of a big table, or all of a workspace; an index of a few rows does not count."""
    words = detail.split()
    if detail.endswith("(workspace_id=?)"):
        return words[1] in BIG
    return words[0] == "SCAN" and words[1] in BIG and not PARTIAL & set(words)


#: Indexes of the few rows that still need work.
PARTIAL = {
    *(f"ix_participant_{name}" for name in ("unsent", "sent", "unplaced", "waiting", "running", "stopping")),
    "ix_event_waiting",
    "ix_delivery_due",
    "ix_delivery_oldest",
}


def _reads_all(node: dict[str, Any]) -> bool:
    if node["Node Type"] == "Seq Scan":
        return True
    return node["Node Type"].startswith("Index") and "Index Cond" not in node and node["Index Name"] not in PARTIAL


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)
