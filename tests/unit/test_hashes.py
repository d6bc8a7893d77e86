"""The image installs the versions that are tested, and only files with recorded hashes."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.syntax_trees import ROOT

#: Only the build backend needs these; constraints.txt has what is installed for the program and its tests.
BACKEND = {"hatchling", "tomlkit", "trove-classifiers"}
_LINES = (ROOT / "constraints-hashes.txt").read_text().splitlines()


def hashed() -> dict[str, tuple[str, str]]:
    """Returns name -> version and marker in constraints-hashes.txt."""
    found = (Requirement(line.removesuffix(" \\")) for line in _LINES if "==" in line)
    return {canonicalize_name(one.name): (str(one.specifier), str(one.marker)) for one in found}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = (Requirement(line) for line in lines if not line.startswith("#"))
    return {canonicalize_name(one.name): str(one.specifier) for one in found}


def test_hashes_are_of_the_versions_in_constraints() -> None:
    ours = {name: version for name, (version, _) in hashed().items() if name not in BACKEND}
    assert ours == {name: version for name, version in pinned().items() if name in ours}
    assert {marker for _, marker in hashed().values()} == {"None"}


def test_hashes_cover_what_pyproject_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    required = [*project["project"]["dependencies"], *extras["server"], *extras["traces"]]
    required += project["build-system"]["requires"]
    for one in map(Requirement, required):
        version, _ = hashed()[canonicalize_name(one.name)]
        assert one.specifier.contains(version.removeprefix("==")), one


def test_hashes_have_only_versions_and_sha256() -> None:
    for line in _LINES:
        assert re.fullmatch(r"#.*|[\w.-]+==[\w.+!-]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert not re.search(r"https?:|file:|/", "".join(line for line in _LINES if not line.startswith("#")))
    starts = [number for number, line in enumerate(_LINES) if "==" in line]
    assert all("--hash" in _LINES[number + 1] for number in starts)


def test_image_installs_only_files_with_hashes() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    installs = re.findall(r"pip install (.*)", text)
    assert installs == [
        "--no-cache-dir --require-hashes --requirement constraints-hashes.txt",
        "--no-cache-dir --no-deps --no-build-isolation .",
    ]
