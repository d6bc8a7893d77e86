"""The command `ticket`: creates a ticket for a browser."""

from typing import Annotated

import typer

from understudy.cli.console import CommandContext
from understudy.cli.render import plain


def ticket(
    session: CommandContext,
    *,
    study: Annotated[str | None, typer.Option(metavar="S", help="The events of this study.")] = None,
    participant: Annotated[str | None, typer.Option(metavar="T", help="The events of this participant.")] = None,
    ask: Annotated[str | None, typer.Option(metavar="A", help="The events of this ask.")] = None,
) -> None:
    """Create a ticket with which a browser follows events for ten minutes."""
    created = session.client.event_ticket(study_id=study, participant_id=participant, ask_id=ask)
    session.show(plain(created.ticket))
