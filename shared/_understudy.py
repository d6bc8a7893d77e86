"""Entry point of the command `understudy`. Outside the namespace, it can report a file that hides it."""

import sys
from importlib.util import find_spec


def hidden_by() -> str:
    """Returns the file that makes `understudy` a regular package; empty if nothing does.

    `understudy` is a namespace package. If a regular package of that name is on the path, for instance a
    plug-in's `understudy/__init__.py`, Python uses it instead and does not find our modules.
    """
    spec = find_spec("understudy")
    return spec.origin or "" if spec else ""


def main() -> None:
    """Runs the command; exits with an error message if a file hides the package."""
    if file := hidden_by():
        sys.exit(
            f"understudy: {file} hides the installed package understudy; rename or remove it, or uninstall "
            "the distribution that installed it."
        )
    from understudy.deploy.main import main  # noqa: PLC0415 - found only if nothing hides it

    main()
