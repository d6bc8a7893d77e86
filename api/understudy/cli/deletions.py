"""The command `delete`."""

import sys
from typing import Annotated

import typer

from understudy.cli.console import CommandContext
from understudy.cli.objects import kind_of
from understudy.cli.render import plain
from understudy.cli.terminal import confirm
from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind


def delete(
    session: CommandContext,
    id_: Annotated[str, typer.Argument(metavar="S|A|TP", help="Study, ask or person: alias or UUID.")],
    *,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Kind of a UUID: study, ask or person.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Delete without asking.")] = False,
) -> None:
    """Delete a study, an ask or a person with everything in it, for good.

    Asks first on a terminal; elsewhere it needs --yes. Refused (exit code 1)
    while a participant in it is active, or while a person has participants.
    """
    noun = _noun(id_, kind)
    if not yes:
        if session.as_json or not sys.stdin.isatty():
            raise ValidationError(f"deleting {id_} cannot be undone: confirm it with --yes")
        parts = "" if noun == "person" else " with all its participants, interactions and results"
        if not confirm(f"Delete the {noun} {id_}{parts}? This cannot be undone."):
            raise typer.Exit(1)
    deleted = getattr(session.client, f"{noun}_delete")(id_)
    number = f" with {deleted.participant_count} participants" if noun != "person" else ""
    session.show(plain(f"Deleted the {noun} {deleted.alias}{number}."))


def _noun(id_: str, kind: str | None) -> str:
    found = kind_of(id_)
    if found is None:
        # A UUID names no kind, and a guess could delete something else.
        if kind not in {"study", "ask", "person"}:
            raise ValidationError("a UUID names no kind: give --kind study, ask or person, or the alias")
        return kind
    if found not in {Kind.STUDY, Kind.ASK, Kind.PERSON}:
        raise ValidationError("delete takes a study (s-), an ask (a-) or a person (tp-)")
    if kind not in {None, found.name.lower()}:
        raise ValidationError(f"{id_} is no {kind}")
    return found.name.lower()
