"""The same input through REST, the Python client, the command line and MCP: the same envelope from each.

One table. Each door works in a workspace of its own, all of like content; ids and times are masked.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from tests.contract.interfaces import ROUTES, CallResult, call_cli, call_client, call_mcp, call_rest, masked, names_of
from tests.contract.manual_worker import run_steps, run_to_end
from tests.contract.parity_table import GOOD, LAMPS, WEB, WRONG, Row
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import serve_in_thread
from understudy.api.app import create_app
from understudy.domain.lifecycle import Status
from understudy.domain.people import generate_people
from understudy.mcp.registry import TOOLS
from understudy.settings import Settings
from understudy.store import dispatch, people
from understudy.store.engine import Store

DOORS = ("rest", "client", "cli", "mcp")


class World(NamedTuple):
    """A door's workspace, and the ids of what is in it."""

    caller: ApiClient
    ids: dict[str, UUID]

    def filled(self, value: Any) -> Any:
        """The same with ids for names."""
        if isinstance(value, dict):
            return {name: self.filled(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.filled(one) for one in value)
        known = isinstance(value, str) and value.startswith("<") and value.strip("<>") in self.ids
        return str(self.ids[value.strip("<>")]) if known else value


@pytest.fixture(scope="module")
def worlds(
    _templates: dict[str, str], broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, World]]:
    """One server, and a workspace for each door."""
    folder: Path = tmp_path_factory.mktemp("parity")
    shutil.copy(_templates["sqlite"], folder / "store.db")
    url = f"sqlite:///{folder / 'store.db'}"
    # Nothing is likely stuck here, however long the table takes.
    settings = Settings(data_dir=folder, database_url=url, broker_url=broker_url, lease_ttl_s=86_400)
    store = Store(url)
    with serve_in_thread(create_app(settings)) as api:
        strangers = furnish(store, api, "strangers")
        made = {door: furnish(store, api, door) for door in DOORS}
        for world in made.values():
            world.ids["stranger"] = strangers.ids["study"]
            world.ids["strange_one"] = strangers.ids["done"]
        yield made
        for world in (strangers, *made.values()):
            world.caller.http.close()
    store.dispose()


def furnish(store: Store, api: str, name: str) -> World:
    """A workspace like all others that this makes. One thing at a time: lists are in order of creation."""
    caller = ApiClient(store, api, name, people=0)
    workspace_id = caller.workspace_id
    ids: dict[str, UUID] = {}

    def later() -> None:
        time.sleep(0.002)

    for called, person in zip(("ada", "ben", "cleo"), generate_people(3, 1), strict=True):
        later()
        (ids[called],) = store.write(lambda c, p=person: people.insert_people(c, workspace_id, [p]))
    # The last iteration is for what the table runs.
    made = make_study(store, workspace_id, content=dict(WEB), iterations=3)
    ids["study"], (ids["first"], ids["second"], _) = made
    later()
    ids["bare"], _ = make_study(store, workspace_id, iterations=0)
    later()
    answer = caller.post("/v1/studies", LAMPS | {"modality": "chat"})
    ids["chat"] = UUID(answer.json()["id"])
    for called in ("done", "failed", "cancelled", "running", "pending"):
        later()
        (ids[called],) = make_participants(store, workspace_id, ids["study"], ids["first"], person=ids["ada"])
        store.write(lambda c, id_=ids[called]: dispatch.reserve_messages(c, [id_]))
        if called == "running":
            run_steps(store, ids[called], 1)
        elif called != "pending":
            run_to_end(store, ids[called], 2, "completed" if called == "done" else called)
    later()
    (ids["waiting"],) = make_participants(store, workspace_id, ids["study"], ids["second"], person=ids["cleo"])
    store.write(lambda c: dispatch.reserve_messages(c, [ids["waiting"]]))
    later()
    (ids["draft"],) = make_participants(
        store, workspace_id, ids["study"], ids["second"], status=Status.DRAFT, person=ids["ben"]
    )
    later()
    child = store.write(lambda c: dispatch.insert_branch(c, workspace_id, ids["done"], 10, "Look for red ones."))
    assert child is not None
    ids["child"] = child.id
    run_to_end(store, child.id, 1)
    for called, rounds in (("ask", 1), ("round_ask", 2), ("full_ask", 5)):
        later()
        ids[called], _ = make_ask(store, workspace_id, rounds=rounds, each=1)
    return World(caller, ids)


def ask_each_door(worlds: dict[str, World], row: Row) -> dict[str, CallResult]:
    """What each door says, masked."""
    told: dict[str, CallResult] = {}
    ways = {"rest": call_rest, "client": call_client, "mcp": call_mcp}
    for door, world in worlds.items():
        if door == "cli":
            if row.command is None:
                # Whatever it would have changed is changed here too.
                call_rest(world.caller, row.tool, world.filled(row.arguments))
                continue
            came = call_cli(world.caller, world.filled(row.command))
        elif door == "client" and not row.client:
            continue
        else:
            if row.first is not None:
                ways[door](world.caller, row.tool, world.filled(row.first))
            came = ways[door](world.caller, row.tool, world.filled(row.arguments))
        names = names_of(world.ids)
        error = came.error and (
            came.error[0],
            masked(came.error[1], names),
            tuple(masked(one, names) for one in came.error[2]),
        )
        told[door] = CallResult(masked(came.envelope, names), error)
    return told


@pytest.mark.parametrize("row", [*GOOD, *WRONG], ids=lambda row: row.description.replace(" ", "-")[:60])
def test_every_door_says_the_same(worlds: dict[str, World], row: Row) -> None:
    told = ask_each_door(worlds, row)
    expected = told["rest"]
    code = expected.error[0] if expected.error else (expected.envelope or {}).get("error_code")
    assert code == row.code, expected
    for door, came in told.items():
        if door == "cli" and row.own_words:
            assert came.error is not None
            assert came.error[0] == row.code
        else:
            assert came == expected, door


def test_the_table_has_good_and_bad_inputs_for_every_tool() -> None:
    assert len(GOOD) + len(WRONG) >= 60
    for rows in (GOOD, WRONG):
        assert {row.tool for row in rows} == {tool.name for tool in TOOLS} == set(ROUTES)
    assert len({row.description for row in (*GOOD, *WRONG)}) == len(GOOD) + len(WRONG)
