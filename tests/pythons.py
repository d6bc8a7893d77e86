"""Runs tests on every Python from 3.11 on that this machine has: `python -m tests.pythons tests/unit`.

Each gets an environment of its own, with the built wheel and not this checkout. Exits 1 if one of them fails,
and names those that are not here.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import which

from tests.virtual_environments import ROOT, build_wheel, environment_with, run

VERSIONS = ("3.11", "3.12", "3.13")


def find_python(version: str) -> str | None:
    """A Python of that version, on the path or among those of pyenv; None if there is none."""
    folders = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin"))
    for candidate in (which(f"python{version}"), *(str(folder / f"python{version}") for folder in folders)):
        if candidate and _is_of(candidate, version):
            return candidate
    return None


def _is_of(python: str, version: str) -> bool:
    asked = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False)
    return ran.returncode == 0 and ran.stdout.strip() == version


def main() -> int:
    failed = []
    only_unit = all(Path(argument).is_relative_to("tests/unit") for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(ROOT, Path(folder))
        for version in VERSIONS:
            python = find_python(version)
            if python is None:
                print(f"Python {version}: not on this machine", flush=True)
                continue
            here = environment_with(wheel, "unit" if only_unit else "test", ROOT / "constraints.txt", python)
            found = run(here, "-c", "import understudy.domain as d; print(d.__file__)", cwd=Path(folder)).strip()
            print(f"Python {version}: {found}", flush=True)
            tests = [here, "-m", "pytest", "-q", "-n", "3", "-p", "no:cacheprovider", *sys.argv[1:]]
            if subprocess.run(tests, cwd=ROOT, check=False).returncode:
                failed.append(version)
    print(f"failed on: {', '.join(failed)}" if failed else "passed on all of them")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
