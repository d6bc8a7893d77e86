"""Runs tests on each other Python from 3.11 on that this machine has: `python -m tests.pythons tests/unit`.

Each Python gets an environment with the built wheel and not this checkout. `--all` includes the version that
runs this. Exits with the number of versions on which tests failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import which

from tests.virtual_environments import ROOT, build_wheel, environment_with, run

VERSIONS = ("3.11", "3.12", "3.13")
THIS_VERSION = "{}.{}".format(*sys.version_info)


def find_python(version: str) -> str | None:
    """Returns a Python of that version from the path or from pyenv; None if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = sorted((pyenv / "versions").glob(f"{version}.*/bin"))
    for candidate in (which(f"python{version}"), *(str(folder / f"python{version}") for folder in folders)):
        if candidate and _is_of(candidate, version):
            return candidate
    return None


def _is_of(python: str, version: str) -> bool:
    command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode == 0 and ran.stdout.strip() == version


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pythons", description=__doc__)
    parser.add_argument("--all", action="store_true", help=f"also on Python {THIS_VERSION}")
    parser.add_argument("tests", nargs="+", help="files and options for pytest")
    options, more = parser.parse_known_args()
    only_unit = all(Path(argument).is_relative_to("tests/unit") for argument in options.tests)
    passed, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(ROOT, Path(folder))
        for version in VERSIONS if options.all else [version for version in VERSIONS if version != THIS_VERSION]:
            python = find_python(version)
            if python is None:
                print(f"Python {version}: not on this machine", flush=True)
                continue
            here = environment_with(wheel, "unit" if only_unit else "test", ROOT / "constraints.txt", python)
            found = run(here, "-c", "import understudy.domain as d; print(d.__file__)", cwd=Path(folder)).strip()
            print(f"Python {version}: {found}", flush=True)
            command = [here, "-m", "pytest", "-q", "-n", str(os.cpu_count()), "--dist", "worksteal"]
            command += ["-p", "no:cacheprovider", *options.tests, *more]
            code = subprocess.run(command, cwd=ROOT, check=False).returncode
            (failed if code else passed).append(version)
    print(f"passed on: {', '.join(passed) or 'none'}; failed on: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
