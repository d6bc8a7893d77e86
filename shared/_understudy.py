"""Entry point of the command `understudy`, outside of the namespace so that it can say what hides it."""

import sys
from importlib.util import find_spec


def hidden_by() -> str:
    """Returns the file that makes `understudy` a regular package; empty if nothing does.

    `understudy` is a namespace package. A regular one of that name anywhere on the path, a plug-in's
    `understudy/__init__.py` for instance, takes its place, and our modules are not found.
    """
    spec = find_spec("understudy")
    return spec.origin or "" if spec else ""


def main() -> None:
    """Run the command, or end with the sentence that says what hides it."""
    if file := hidden_by():
        sys.exit(
            f"understudy: {file} hides the installed package understudy; rename or remove it, or uninstall "
            "the distribution that brought it."
        )
    from understudy.deploy.main import main  # noqa: PLC0415 - only once it is known to be there

    main()
