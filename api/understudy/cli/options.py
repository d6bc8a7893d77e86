"""Options that several commands share."""

from typing import Annotated

import typer

from understudy.cli.numbers import seconds, whole_number

Mind = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Mind that decides for the participants.", show_default="heuristic"),
]
Seed = Annotated[
    int | None, typer.Option(parser=whole_number, metavar="S", help="Seed for reproducible people and decisions.")
]
Timeout = Annotated[
    float, typer.Option(parser=seconds, metavar="SECONDS", help="Stop waiting after SECONDS; the run continues.")
]
Wait = Annotated[bool, typer.Option("--wait", metavar="", help="Wait until all participants have finished.")]
