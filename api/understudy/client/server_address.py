"""Where the server is and who asks, when nobody says: what `understudy up` left in the data folder."""

from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import httpx

from shared.domain.errors import AuthFailed, ValidationError
from shared.settings import Settings

#: How to come by a token.
NO_TOKEN = (
    "On the machine and in the folder where `understudy up` runs, its token is found by itself; "
    "elsewhere name its folder with --data-dir or UNDERSTUDY_DATA_DIR.",
    "Or pass a token with --token or UNDERSTUDY_TOKEN; `understudy token create --workspace NAME` makes one.",
)


class Endpoint(NamedTuple):
    server: str
    #: Empty: there is none, and only what needs no token can be asked.
    token: str


def find_endpoint(settings: Settings) -> Endpoint:
    """The settings', and what they leave open as `understudy up` wrote it into the data folder.

    Raises AuthFailed for a file that is there and may not be read.
    """
    server = settings.server if "server" in settings.model_fields_set else ""
    return Endpoint(
        server or _first_line(settings.data_dir / "server") or type(settings).model_fields["server"].default,
        settings.token or _first_line(settings.data_dir / "token"),
    )


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise AuthFailed(f"{file} cannot be read ({error.strerror})", suggestions=NO_TOKEN) from error
    return lines[0].strip() if lines else ""


def server_url(server: str) -> httpx.URL:
    """Raises ValidationError unless it is a URL with a host."""
    try:
        url = httpx.URL(server.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValidationError(f"server must be a URL like http://127.0.0.1:8000, not {server!r}")
    return url


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
