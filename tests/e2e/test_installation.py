"""The wheel, installed beside a project that has packages named like this repository's folders."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers import free_port, wait_until
from tests.virtual_environments import ROOT, build_wheel, environment_with, run
from understudy.deploy.ports import is_healthy

#: Folders of this repository and of common web apps.
NAMES = ("api", "worker", "shared", "deploy", "docs")
#: Bounds on what `pip install understudy` brings.
MAX_CLIENT_PACKAGES, MAX_CLIENT_MB = 22, 40

SCRIPT = '''
"""A user's script, as strict as mypy can be."""

import api
from understudy.client import CancelEnvelope, RunFailure, RunSuccess, StudyFull, Understudy, UnderstudyError


def stop_and_resume(client: Understudy, study: StudyFull) -> str:
    run: RunSuccess | RunFailure = client.study_run(study.id, sample=1)
    if not run.ok:
        return run.error
    assert run.dispatch is not None
    envelope: CancelEnvelope = client.simulation_cancel(study_id=study.id)
    client.simulation_extend(run.dispatch.participant_ids[0], additional_steps=5)
    return envelope.cancelled[0].status


with Understudy() as understudy:
    print(understudy.server, api.OURS)
'''


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def client_python(wheel: Path) -> Path:
    """The Python of an environment with the client and the command line."""
    return environment_with(wheel, "", ROOT / "constraints.txt")


@pytest.fixture(scope="session")
def server_python(wheel: Path) -> Path:
    """The Python of an environment with everything."""
    return environment_with(wheel, "server", ROOT / "constraints.txt")


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project with packages named like our folders; namespace packages with the parameter `mine`."""
    module = getattr(request, "param", "__init__")
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{module}.py").write_text("OURS = False\n")
    script = SCRIPT if module == "__init__" else SCRIPT.replace("import api\n", f"import api.{module} as api\n")
    (tmp_path / "script.py").write_text(script)
    return tmp_path


def beside(python: Path, name: str) -> Path:
    """Returns a command of that environment."""
    return python.with_name(name)


def megabytes(python: Path) -> float:
    """Returns the size of an environment without pip and setuptools."""
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    without = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    files = (
        file
        for top in site.iterdir()
        if not top.name.startswith(without)
        for file in ([top] if top.is_file() else top.rglob("*"))
    )
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def packages(python: Path) -> list[str]:
    listed = run(python, "-m", "pip", "list", "--format=freeze", cwd=python.parent).split()
    return [name for line in listed if (name := line.partition("==")[0]) not in {"pip", "setuptools"}]


def test_the_wheel_contains_one_package_with_its_data_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"understudy", "_understudy.py", *(top for top in tops if top.endswith(".dist-info"))}
    assert "understudy/__init__.py" not in names
    assert len(names) == len(set(names))
    data_files = ("py.typed", "panels/varied-50.csv", "docs/concepts/overview.md", "deploy/migrations/env.py")
    assert {f"understudy/{name}" for name in data_files} <= set(names)


def test_the_client_is_small(client_python: Path) -> None:
    assert len(packages(client_python)) <= MAX_CLIENT_PACKAGES
    assert megabytes(client_python) <= MAX_CLIENT_MB


@pytest.mark.parametrize("project", ["__init__", "mine"], indirect=True)
def test_the_client_and_the_command_work_beside_a_project(client_python: Path, project: Path) -> None:
    assert run(client_python, "script.py", cwd=project) == "http://127.0.0.1:8000 False\n"
    command = beside(client_python, "understudy")
    assert "Usage: understudy" in run(command, "--help", cwd=project)
    assert "concepts/overview" in run(command, "docs", cwd=project)
    assert run(command, "docs", "concepts/overview", cwd=project).startswith("# Overview")


def test_a_users_script_passes_strict_type_checks(client_python: Path, project: Path) -> None:
    (project / "mypy.ini").write_text("[mypy]\nstrict = True\n")
    checked = run(sys.executable, "-m", "mypy", "--python-executable", client_python, "script.py", cwd=project)
    assert "no issues found" in checked


@pytest.mark.parametrize(
    "command", [["up"], ["demo"], ["api"], ["worker"], ["sweeper"], ["migrate"], ["token", "list"]]
)
def test_a_command_without_its_component_names_the_extra(
    client_python: Path, tmp_path: Path, command: list[str]
) -> None:
    code, line = fail(client_python, *command, cwd=tmp_path)
    assert code == 2
    assert "pip install 'understudy[server]'" in line
    assert not list(tmp_path.iterdir())


def test_a_regular_package_of_the_same_name_is_reported(client_python: Path, tmp_path: Path) -> None:
    (tmp_path / "understudy").mkdir()
    hides = tmp_path / "understudy" / "__init__.py"
    hides.touch()
    code, line = fail(client_python, "docs", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert code == 1
    assert line.startswith(f"understudy: {hides} hides the installed package")


def fail(python: Path, *command: str, cwd: Path, **variables: str) -> tuple[int, str]:
    """Runs `understudy`; returns its exit code and the only line on stderr."""
    arguments, environment = [beside(python, "understudy"), *command], os.environ | variables
    ran = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    (line,) = ran.stderr.splitlines()
    return ran.returncode, line


@contextlib.contextmanager
def up(python: Path, folder: Path) -> Iterator[str]:
    """Runs `understudy up` in a folder; yields its address."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    environment.pop("PYTHONPATH", None)
    command = [beside(python, "understudy"), "up", "--port", "0"]
    with (
        (folder / "up.log").open("w") as log,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout
            line = process.stdout.readline()
            found = re.fullmatch(r"ready (http://\S+)\n", line)
            assert found, line + (folder / "up.log").read_text()
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def test_a_complete_stack_works_beside_a_project(server_python: Path, project: Path) -> None:
    with up(server_python, project) as url:
        assert httpx.get(f"{url}/readyz", trust_env=False, verify=False).is_success
        shown = run(server_python, "script.py", cwd=project)
        assert shown == f"{url} False\n"
        settings = {"UNDERSTUDY_BROKER_URL": broker_url(project)}
        celery = (beside(server_python, "celery"), "-A", "understudy.worker.app")

        def nodes() -> set[str]:
            return set(re.findall(r"->\s+(\S+)@", run(*celery, "status", cwd=project, **settings)))

        wait_until(lambda: nodes() >= {"run-1", "control", "alone"})
        port = free_port()
        with started(*celery, "flower", f"--port={port}", "--address=127.0.0.1", cwd=project, **settings):
            wait_until(lambda: is_healthy("127.0.0.1", port, "/healthcheck"))


@contextlib.contextmanager
def started(*command: str | Path, cwd: Path, **variables: str) -> Iterator[None]:
    """Runs a command until the end of the block."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (
        (cwd / "command.log").open("w") as log,
        subprocess.Popen(command, cwd=cwd, env=environment | variables, stdout=log, stderr=log) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def broker_url(project: Path) -> str:
    """Returns the broker's URL from the environment of a process of `up`."""
    for pid_file in (project / ".understudy" / "run").glob("*.pid"):
        pid = pid_file.read_text().split()[0]
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        for variable in variables:
            if variable.startswith(b"UNDERSTUDY_BROKER_URL="):
                return variable.decode().partition("=")[2]
    raise AssertionError("no process of `up` knows a broker")
