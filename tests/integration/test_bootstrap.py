"""What `up` finds or makes: one default workspace, its panel, and a token in the data folder for it."""

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from tests.factories import make_lease
from understudy.deploy.bootstrap import ensure_default_workspace, expire_embedded_leases
from understudy.deploy.migrate import migrate
from understudy.domain.errors import AuthFailed
from understudy.domain.people import default_panel
from understudy.settings import Settings
from understudy.store import leases, workspaces
from understudy.store.engine import Store
from understudy.store.schema import Tables
from understudy.store.workspaces import DEFAULT_WORKSPACE, authenticate, create_token

AT_ONCE = 8


@pytest.fixture
def folder(store_url: str, tmp_path: Path) -> Callable[[str], Settings]:
    """Settings of a data folder of that name, on this store."""

    def make(name: str) -> Settings:
        (tmp_path / name).mkdir()
        return Settings(data_dir=tmp_path / name, database_url=store_url)

    return make


def token_in(settings: Settings) -> str:
    return (settings.data_dir / "token").read_text().strip()


def opened_by(store: Store, secret: str) -> str:
    """The name of the workspace that this token opens."""
    with store.read() as connection:
        id_ = authenticate(connection, secret)
        name = select(Tables.workspace.c.name).where(Tables.workspace.c.id == id_)
        return str(connection.execute(name).scalar_one())


def count(store: Store, table: Any) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def new_token(store: Store, workspace: str) -> workspaces.NewToken:
    return store.write(lambda connection: create_token(connection, workspace))


def test_leases_of_the_embedded_store_expire_and_those_of_another_store_stay(
    store: Store, store_url: str, tmp_path: Path
) -> None:
    """The workers of an earlier `up` are dead; those of a shared store may run on other machines."""
    ours = Settings(data_dir=tmp_path)
    migrate(ours)
    embedded = Store(ours.store_url)
    held, theirs = make_lease(embedded), make_lease(store)
    assert expire_embedded_leases(ours) == 1
    assert expire_embedded_leases(ours.model_copy(update={"database_url": store_url})) == 0
    with embedded.read() as mine, store.read() as other:
        assert not leases.is_live(mine, held)
        assert leases.is_live(other, theirs)
    embedded.dispose()


def test_a_token_that_works_is_kept(store: Store, folder: Callable[[str], Settings]) -> None:
    settings = folder("one")
    ensure_default_workspace(settings)
    first = token_in(settings)
    ensure_default_workspace(settings)
    assert token_in(settings) == first
    assert opened_by(store, first) == DEFAULT_WORKSPACE
    assert stat.S_IMODE((settings.data_dir / "token").stat().st_mode) == 0o600
    assert count(store, Tables.token) == 1
    assert count(store, Tables.person) == len(default_panel())


def test_a_token_of_another_workspace_is_put_aside(store: Store, folder: Callable[[str], Settings]) -> None:
    settings = folder("one")
    other = new_token(store, "acme").secret
    (settings.data_dir / "token").write_text(f"{other}\n")
    ensure_default_workspace(settings)
    assert opened_by(store, token_in(settings)) == DEFAULT_WORKSPACE
    aside = settings.data_dir / "token.other"
    assert opened_by(store, aside.read_text().strip()) == "acme"
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert count(store, Tables.person) == len(default_panel()), "people for the default workspace only"


@pytest.mark.parametrize("content", ["", "us_nobody's", "\n", b"\xff\xfe\x00"])
def test_a_token_that_opens_nothing_is_replaced(
    store: Store, folder: Callable[[str], Settings], content: str | bytes
) -> None:
    settings = folder("one")
    file = settings.data_dir / "token"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    ensure_default_workspace(settings)
    assert opened_by(store, token_in(settings)) == DEFAULT_WORKSPACE
    assert not (settings.data_dir / "token.other").exists()


def test_a_revoked_token_is_replaced(store: Store, folder: Callable[[str], Settings]) -> None:
    settings = folder("one")
    made = new_token(store, DEFAULT_WORKSPACE)
    (settings.data_dir / "token").write_text(made.secret)
    store.write(lambda connection: workspaces.revoke_token(connection, made.id))
    ensure_default_workspace(settings)
    assert opened_by(store, token_in(settings)) == DEFAULT_WORKSPACE
    with pytest.raises(AuthFailed):
        opened_by(store, made.secret)


@pytest.mark.parametrize("exists", [False, True])
def test_several_at_once_make_one_workspace_with_one_panel_and_a_good_token_each(
    store: Store, folder: Callable[[str], Settings], exists: bool
) -> None:
    if exists:
        new_token(store, DEFAULT_WORKSPACE)
    folders = [folder(f"folder-{number}") for number in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ensure_default_workspace, folders))
    assert {opened_by(store, token_in(settings)) for settings in folders} == {DEFAULT_WORKSPACE}
    assert count(store, Tables.workspace) == 1
    assert count(store, Tables.person) == len(default_panel())


def test_tokens_created_at_once_are_all_good_and_of_one_workspace(store: Store, store_url: str) -> None:
    def create(_: int) -> workspaces.NewToken:
        own = Store(store_url)
        try:
            return new_token(own, "acme")
        finally:
            own.dispose()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = list(pool.map(create, range(AT_ONCE)))
    ids: set[UUID] = {token.workspace_id for token in made}
    assert len(ids) == 1
    assert [token.workspace_is_new for token in made].count(True) == 1
    assert {opened_by(store, token.secret) for token in made} == {"acme"}
    assert count(store, Tables.workspace) == 1
