"""Roles of tokens over REST and MCP. Contract sections 7 and 8."""

import json
from typing import Any
from uuid import UUID

import pytest
from mcp import Client
from sqlalchemy import update
from typer.testing import CliRunner

from tests.contract.manual_worker import make_run
from tests.contract.parity_table import ADA, LAMPS
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.mcp_client import PROTOCOL_MODES, run_with_client
from understudy.client import PermissionDenied, Understudy
from understudy.deploy.main import app
from understudy.domain.roles import Role
from understudy.store import workspaces
from understudy.store.engine import Store
from understudy.store.schema import Tables


def token(store: Store, role: Role) -> str:
    return store.write(lambda connection: workspaces.create_token(connection, "acme", role)).secret


def calls(study: UUID, participant: UUID, person: str) -> dict[Role, list[tuple[str, str, Any]]]:
    """Least role -> calls that it may make."""
    return {
        Role.VIEWER: [
            ("GET", "/v1/studies", None),
            ("GET", f"/v1/participants/{participant}/transcript", None),
            ("GET", "/v1/docs", None),
            ("GET", f"/v1/events?study_id={study}&follow=false", None),
        ],
        Role.EDITOR: [
            ("POST", "/v1/studies", LAMPS),
            ("POST", "/v1/people", ADA),
            ("POST", f"/v1/studies/{study}/run", {"sample": 1}),
            ("POST", f"/v1/participants/{participant}/extend", {}),
            ("POST", "/v1/simulations/cancel", {"study_id": str(study)}),
        ],
        Role.ADMIN: [("DELETE", f"/v1/people/{person}", None)],
    }


@pytest.mark.parametrize("role", list(Role))
def test_role_allows_what_it_says_and_refuses_the_rest(store: Store, acme: ApiClient, role: Role) -> None:
    study, (id_,) = make_run(store, acme)
    person = acme.post("/v1/people", ADA).json()["id"]
    headers = {"Authorization": f"Bearer {token(store, role)}"}
    for needed, requests in calls(study, id_, person).items():
        for method, path, body in requests:
            answer = acme.http.request(method, path, json=body, headers=headers)
            if role.may(needed):
                # A participant that is not terminal cannot be extended, and a person who takes part not be deleted.
                assert answer.status_code in {200, 201, 202, 409, 422}, (method, path, answer.text)
            else:
                assert (answer.status_code, answer.json()["error_code"]) == (403, "permission_denied"), path
                assert f"role {needed}" in answer.json()["error"]


def test_token_without_a_role_is_an_admin(store: Store, acme: ApiClient) -> None:
    study, _ = make_study(store, acme.workspace_id)
    store.write(lambda connection: connection.execute(update(Tables.token).values(role=None)))
    assert acme.http.delete(f"/v1/studies/{study}").status_code == 200


def test_client_raises_permission_denied(store: Store, acme: ApiClient) -> None:
    with Understudy(acme.api, token(store, Role.VIEWER)) as client, pytest.raises(PermissionDenied, match="editor"):
        client.study_create("Lamps", assignment={"task": "Buy"})


@pytest.mark.parametrize("mode", PROTOCOL_MODES)
def test_mcp_lists_and_calls_only_what_the_role_allows(store: Store, acme: ApiClient, mode: str) -> None:
    acme.secret = token(store, Role.VIEWER)

    async def scene(client: Client) -> tuple[set[str], str]:
        names = {tool.name for tool in (await client.list_tools()).tools}
        refused = await client.call_tool("person_create", ADA)
        return names, refused.model_dump_json()

    names, refused = run_with_client(acme, scene, mode)
    assert {"study_get", "simulation_wait", "docs_get"} <= names
    assert not {"study_create", "study_run", "simulation_cancel"} & names
    assert "[permission_denied]" in refused


def test_token_create_and_list_show_the_role_in_80_columns(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("UNDERSTUDY_DATA_DIR", str(tmp_path / "data"))
    runner = CliRunner()
    made = runner.invoke(app, ["token", "create", "--workspace", "research", "--role", "viewer", "--json"])
    assert json.loads(made.stdout)["role"] == "viewer"
    shown = runner.invoke(app, ["token", "list"]).stdout
    (item,) = json.loads(runner.invoke(app, ["token", "list", "--json"]).stdout)["items"]
    assert item["role"] == "viewer"
    assert all(text in shown for text in (item["id"], "viewer", item["begins_with"], item["created_at"][:10]))
    assert max(map(len, shown.splitlines())) <= 80
    assert runner.invoke(app, ["token", "create", "--workspace", "x", "--role", "owner"]).exit_code == 2
