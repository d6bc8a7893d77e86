"""Files of the data folder belong to their owner alone, whoever creates them and whatever the umask."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.deploy.child import Child
from understudy.deploy.owner_only_files import narrow_data_folder
from understudy.store.engine import Store


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


def command(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    program = "from understudy.deploy.main import main; main()"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return subprocess.run(
        [sys.executable, "-c", program, *words], env=clean | (env or {}), check=True, capture_output=True, text=True
    )


@pytest.mark.usefixtures("_umask")
def test_store_and_its_logs_of_writes_are_private(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'understudy.db'}")
    with store.read() as connection:
        connection.exec_driver_sql("SELECT 1")
        assert set(modes(tmp_path).values()) == {0o600}
    store.dispose()


@pytest.mark.usefixtures("_umask")
def test_files_of_a_component_by_hand_are_private(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    command("migrate", "--data-dir", str(data))
    command("token", "create", "--workspace", "acme", "--data-dir", str(data))
    assert set(modes(data).values()) == {0o600}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


@pytest.mark.usefixtures("_umask")
def test_log_and_files_of_a_child_are_private(tmp_path: Path) -> None:
    made = tmp_path / "made"
    child = Child(
        "one", [sys.executable, "-c", f"open({str(made)!r}, 'w')"], log=tmp_path / "one.log", run_dir=tmp_path
    )
    child.start()
    child._process.wait()  # type: ignore[union-attr]
    assert modes(tmp_path) == {"one.log": 0o600, "one.pid": 0o600, "made": 0o600}
    child.kill()


def test_open_folder_is_narrowed_once_with_a_line(tmp_path: Path) -> None:
    command("migrate", "--data-dir", str(tmp_path))
    (tmp_path / "logs").mkdir(mode=0o755)
    for name in ("logs/api.log", "token", "notes.txt"):
        (tmp_path / name).touch(mode=0o644)
    (tmp_path / "understudy.db").chmod(0o666)
    (tmp_path / "token.other").symlink_to(tmp_path / "notes.txt")
    tmp_path.chmod(0o755)
    said = [command("token", "list", "--data-dir", str(tmp_path)).stderr for _ in range(2)]
    assert said[0] == (
        f"understudy: {tmp_path} and 4 more files of {tmp_path} had been open to other users; "
        "now only the owner can read them\n"
    )
    assert said[1] == ""
    found = modes(tmp_path)
    assert {found[name] for name in ("logs/api.log", "token", "understudy.db")} == {0o600}
    assert found["logs"] == 0o700 == stat.S_IMODE(tmp_path.stat().st_mode)
    # Not a file of ours.
    assert found["notes.txt"] == 0o644


def test_folder_without_a_file_of_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch(mode=0o644)
    tmp_path.chmod(0o755)
    assert narrow_data_folder(tmp_path) == narrow_data_folder(tmp_path / "missing") == ""
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
