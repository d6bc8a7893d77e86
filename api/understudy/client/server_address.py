"""Finds the server and the token: in arguments, variables, and the data folder of `understudy up`."""

import os
from pathlib import Path
from typing import NamedTuple

import httpx

from understudy.domain.errors import AuthFailed, ValidationError

DEFAULT_SERVER = "http://127.0.0.1:8000"
DEFAULT_DATA_DIR = ".understudy"

#: Suggestions for an error about a missing or unusable token.
TOKEN_HELP = (
    "Run the command in the folder where `understudy up` runs, or name its data folder with --data-dir or "
    "UNDERSTUDY_DATA_DIR: the token is in that folder.",
    "Or pass one with --token or UNDERSTUDY_TOKEN; `understudy token create --workspace NAME` creates one.",
)


class ServerAddress(NamedTuple):
    server: str
    #: Empty without a token: only calls that need no token work.
    token: str


def find_server_address(
    server: str | None = None, token: str | None = None, data_dir: Path | None = None
) -> ServerAddress:
    """Returns the arguments, completed from variables, then from the data folder, then by the default.

    The variables are `UNDERSTUDY_SERVER`, `UNDERSTUDY_TOKEN` and `UNDERSTUDY_DATA_DIR`; an empty one counts
    as unset. No setting of a server is read. Raises AuthFailed for a file that exists and cannot be read.
    """
    folder = data_dir or Path(os.environ.get("UNDERSTUDY_DATA_DIR") or DEFAULT_DATA_DIR)
    return ServerAddress(
        server or os.environ.get("UNDERSTUDY_SERVER") or _first_line(folder / "server") or DEFAULT_SERVER,
        token or os.environ.get("UNDERSTUDY_TOKEN") or _first_line(folder / "token"),
    )


def resolve_server_address(server: str | None, token: str | None) -> ServerAddress:
    """Returns the arguments if both are given, else completed as by `find_server_address`."""
    if server is not None and token is not None:
        return ServerAddress(server, token)
    found = find_server_address()
    return ServerAddress(found.server if server is None else server, found.token if token is None else token)


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise AuthFailed(f"{file} cannot be read ({error.strerror})", suggestions=TOKEN_HELP) from error
    return lines[0].strip() if lines else ""


def server_url(server: str) -> httpx.URL:
    """Returns the parsed URL. Raises ValidationError unless it is an HTTP URL with a host."""
    try:
        url = httpx.URL(server.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValidationError(f"server must be a URL like http://127.0.0.1:8000, not {server!r}")
    return url
