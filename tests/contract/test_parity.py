"""The same input over REST, the Python client, the command line and MCP: the same envelope or error from each.

One table. Each interface works in its own workspace, all with equal content; ids and times are masked.
"""

import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest

from tests.contract.interfaces import INTERFACES, ROUTES, Call, CallResult, Json, masked_result
from tests.contract.manual_worker import dump_idle_tables, dump_tables, run_steps, run_to_end
from tests.contract.parity_table import BAD, COMPLETE, GOOD, LAMPS, WEB, WRONG, Row, filled, spoiled
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import serve_in_thread
from understudy.api.app import create_app
from understudy.domain.lifecycle import Status
from understudy.domain.people import generate_people
from understudy.operations.tools import TOOLS
from understudy.settings import Settings
from understudy.store import Connection, dispatch, people, window
from understudy.store.engine import Store


class World(NamedTuple):
    """An interface, and the ids of the objects in its workspace."""

    call: Call
    #: REST in the same workspace, for what the interface cannot express: all workspaces must stay equal.
    call_rest: Call
    ids: dict[str, UUID]


class Worlds(NamedTuple):
    """All interfaces, on one store."""

    store: Store
    by_interface: dict[str, World]


@pytest.fixture(scope="module")
def worlds(_templates: dict[str, str], broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """One server, and a workspace for each interface."""
    folder: Path = tmp_path_factory.mktemp("parity")
    shutil.copy(_templates["sqlite"], folder / "store.db")
    url = f"sqlite:///{folder / 'store.db'}"
    # However long the table takes, no participant becomes likely stuck.
    settings = Settings(data_dir=folder, database_url=url, broker_url=broker_url, lease_ttl_s=300)
    store = Store(url)
    with ExitStack() as stack:
        api = stack.enter_context(serve_in_thread(create_app(settings)))
        _, strangers = furnish(store, stack.enter_context(ApiClient(store, api, "strangers", people=0)))
        made = {}
        for name, interface in INTERFACES.items():
            caller, ids = furnish(store, stack.enter_context(ApiClient(store, api, name, people=0)))
            ids |= {f"stranger_{called}": id_ for called, id_ in strangers.items()}
            made[name] = World(*(stack.enter_context(one(caller)) for one in (interface, INTERFACES["rest"])), ids)
        yield Worlds(store, made)
    store.dispose()


def furnish(store: Store, caller: ApiClient) -> tuple[ApiClient, dict[str, UUID]]:
    """Fills a workspace, always in the same way. One object at a time: lists are in order of creation."""
    workspace_id = caller.workspace_id
    ids: dict[str, UUID] = {}

    def later() -> None:
        time.sleep(0.002)

    for called, person in zip(("ada", "ben", "cleo"), generate_people(3, 1), strict=True):
        later()
        (ids[called],) = store.write(lambda c, p=person: people.insert_people(c, workspace_id, [p]))
    # The third iteration is for the runs of the table.
    made = make_study(store, workspace_id, content=dict(WEB), iterations=3)
    ids["study"], (ids["first"], ids["second"], ids["third"]) = made
    later()
    ids["bare"], _ = make_study(store, workspace_id, iterations=0)
    later()
    answer = caller.post("/v1/studies", LAMPS | {"modality": "chat"})
    ids["chat"] = UUID(answer.json()["id"])
    for called in ("done", "failed", "cancelled", "running", "pending"):
        later()
        (ids[called],) = make_participants(store, workspace_id, ids["study"], ids["first"], person=ids["ada"])
        store.write(publish)
        if called == "running":
            run_steps(store, ids[called], 1)
        elif called != "pending":
            run_to_end(store, ids[called], 2, "completed" if called == "done" else called)
    later()
    (ids["waiting"],) = make_participants(store, workspace_id, ids["study"], ids["second"], person=ids["cleo"])
    store.write(publish)
    later()
    (ids["draft"],) = make_participants(
        store, workspace_id, ids["study"], ids["second"], status=Status.DRAFT, person=ids["ben"]
    )
    later()
    child = store.write(lambda c: dispatch.insert_branch(c, workspace_id, ids["done"], 10, "Look for red ones."))
    ids["child"] = child.id
    run_to_end(store, child.id, 1)
    for called, rounds in (("ask", 1), ("round_ask", 2), ("full_ask", 5)):
        later()
        ids[called], _ = make_ask(store, workspace_id, rounds=rounds, each=1)
        store.write(publish)
    return caller, ids


def publish(connection: Connection) -> None:
    """Marks the run messages of all pending participants as published."""
    window.refill(connection, 1_000)


def results_of(worlds: Worlds, tool: str, arguments: Json, skip: Collection[str] = ()) -> dict[str, CallResult]:
    """The masked result of each interface that can express the call."""
    results = {}
    for name, world in worlds.by_interface.items():
        fields = filled(arguments, world.ids)
        result = None if name.partition("-")[0] in skip else world.call(tool, fields)
        if result is None:
            world.call_rest(tool, fields)
        else:
            results[name] = masked_result(result, world.ids)
    return results


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row.name)
def test_all_interfaces_return_the_same_envelope(worlds: Worlds, row: Row) -> None:
    if row.first is not None:
        results_of(worlds, row.tool, row.first)
    results = results_of(worlds, row.tool, row.arguments)
    assert results["rest"].code == row.code, results["rest"]
    assert results == dict.fromkeys(results, results["rest"])


@pytest.mark.parametrize("row", WRONG, ids=lambda row: row.name)
def test_all_interfaces_refuse_bad_input_with_the_same_error_and_change_nothing(worlds: Worlds, row: Row) -> None:
    if row.first is not None:
        results_of(worlds, row.tool, row.first)
    before = dump_idle_tables(worlds.store)
    skip = (*row.skip, "mcp") if has_unset_argument(row.tool, row.arguments) else row.skip
    results = results_of(worlds, row.tool, row.arguments, skip)
    assert {name: result.code for name, result in results.items()} == dict.fromkeys(results, row.code), results
    assert [text for result in results.values() if not is_readable(text := result.message)] == []
    assert row.says in results["rest"].message
    same = {name: result for name, result in results.items() if name.partition("-")[0] not in row.own_words}
    assert same == dict.fromkeys(same, results["rest"])
    assert dump_tables(worlds.store) == before


def has_unset_argument(name: str, arguments: Json) -> bool:
    """Whether an optional argument is null or empty: over MCP it counts as not given."""
    tool = next(tool for tool in TOOLS if tool.name == name)
    return any(value in (None, "") and not tool.requires(argument) for argument, value in arguments.items())


def is_readable(message: str) -> bool:
    return 5 < len(message) < 1_500 and "Traceback" not in message


@pytest.mark.parametrize("tool", COMPLETE)
def test_a_field_with_a_wrong_type_or_bound_is_refused_at_any_depth(worlds: Worlds, tool: str) -> None:
    before = dump_idle_tables(worlds.store)
    (path,) = ROUTES[tool]
    # The other interfaces convert values: their input is no JSON.
    for arguments in spoiled(tool, path_parameters=set(re.findall(r"\{(\w+)\}", path))):
        for name in ("rest",) if has_unset_argument(tool, arguments) else ("rest", "mcp-auto"):
            world = worlds.by_interface[name]
            result = world.call(tool, filled(arguments, world.ids))
            assert (result.code, is_readable(result.message)) == (BAD, True), (name, str(arguments)[:1_000])
    assert dump_tables(worlds.store) == before


def test_the_table_has_valid_and_invalid_rows_for_every_tool() -> None:
    tools = {tool.name for tool in TOOLS}
    assert {row.tool for row in GOOD} == {row.tool for row in WRONG} == set(ROUTES) == tools
