"""Origins of web pages that may call the API from a browser."""

import re

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[1-9]\d{0,4})?")


def parse_origins(text: str) -> tuple[str, ...]:
    """Parses a comma-separated list of exact origins. Raises ValueError for anything else, also for `*`.

    Any page of the web could use `*` to spend a token that it got hold of.
    """
    origins = tuple(origin for origin in map(str.strip, text.split(",")) if origin)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is not an exact origin: give scheme, host in lower case and port as a browser sends them, "
                "such as https://app.example or http://localhost:3000"
            )
    return origins
