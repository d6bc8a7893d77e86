"""Options that several commands share."""

from typing import Annotated

import typer

from understudy.cli.numbers import positive_number, seconds

#: Source: contract section 4.
DEFAULT_TIMEOUT_S = 600.0
#: Maximum items of a page.
MAX_PAGE = 500

Timeout = Annotated[
    float, typer.Option(parser=seconds, metavar="SECONDS", help="Stop waiting after SECONDS; the run continues.")
]
Wait = Annotated[bool, typer.Option("--wait", metavar="", help="Wait until all participants have finished.")]
Limit = Annotated[
    int | None, typer.Option(parser=positive_number, metavar="N", help="Maximum items of a list.", show_default="50")
]
Cursor = Annotated[str | None, typer.Option(metavar="C", help="Cursor from `next_cursor` of the previous page.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="Text that you choose; a command repeated with the same key within 24 hours starts nothing.",
    ),
]
