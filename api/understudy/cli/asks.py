"""The command that asks people about texts."""

from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.ask_views import ask_table, ask_view
from understudy.cli.console import CommandContext
from understudy.cli.filters import Age, Country, Language, Search, Trait, parse_people_filter
from understudy.cli.numbers import positive_number, seconds, whole_number
from understudy.cli.render import plain, run_view
from understudy.domain.errors import ValidationError

if TYPE_CHECKING:
    from understudy.envelopes.simulations import RunFailure, RunSuccess

_DEFAULT_PEOPLE = 5


def ask(
    session: CommandContext,
    *,
    question: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What they are asked about the variants.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text to choose from; give one for each, they become A, B, C…"),
    ] = None,
    next_: Annotated[
        str | None,
        typer.Option("--next", metavar="A", help="The next round of this ask, with the same people."),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--people",
            parser=positive_number,
            metavar="N",
            help="Number of people to sample.",
            show_default=str(_DEFAULT_PEOPLE),
        ),
    ] = None,
    age: Age = None,
    country: Country = None,
    language: Language = None,
    trait: Trait = None,
    search: Search = None,
    seed: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="S", help="Same seed: same people, same answers."),
    ] = None,
    mind: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Mind that decides for the participants.", show_default="heuristic"
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", metavar="", help="Wait until all have answered.")] = False,
    timeout: Annotated[
        float,
        typer.Option(
            parser=seconds, metavar="SECONDS", help="Stop waiting after SECONDS; the run continues."
        ),
    ] = 600.0,
) -> None:
    """Ask people which text they pick, and why; without options: list your asks.

    A next round asks the same people again: what is not given is as it was in the round before.
    """
    texts = variant or None
    where = parse_people_filter(age, country, language, trait, search)
    if next_ is None and question is None and texts is None:
        if where or (number, seed, mind, wait) != (None, None, None, False):
            raise ValidationError("to ask something give --question and --variant; to ask again, --next")
        _list(session)
        return
    waiting = "Waiting until all have answered. Ctrl-C stops waiting; the run continues."
    if next_ is not None:
        if where or number is not None or mind is not None:
            raise ValidationError("the people and --mind are those of round 1: leave them out with --next")
        session.resume_command = f"understudy get {next_}"
        with session.waiting(waiting, shown=wait):
            response = session.client.ask_round(
                next_, question=question, variants=texts, seed=seed, wait=wait, timeout=timeout
            )
    else:
        if question is None or texts is None:
            raise ValidationError("give --question, and --variant once or more; or --next")
        with session.waiting(waiting, shown=wait):
            response = session.client.ask_run(
                question,
                texts,
                sample=number or _DEFAULT_PEOPLE,
                where=where or None,
                seed=seed,
                mind=mind,
                wait=wait,
                timeout=timeout,
            )
    _show(session, response, wait=wait)


def _list(session: CommandContext) -> None:
    asks = session.client.ask_list(limit=500)
    if asks.items:
        session.show(ask_table(asks.items))
    else:
        session.show(plain("No asks. understudy ask --question … --variant … makes one.", "dim"))


def _show(session: CommandContext, response: "RunSuccess | RunFailure", *, wait: bool) -> None:
    dispatch = response.dispatch
    if session.as_json or dispatch is None or dispatch.ask_id is None:
        session.show_run(response, run_view(response))
        return
    result = session.client.ask_get(dispatch.ask_id)
    if response.ok and wait:
        session.show(ask_view(result), plain(f"Who said what: understudy get {result.alias}", "dim"))
        return
    heading = f"Ask {result.alias}, round {dispatch.round}: {result.rounds[-1].question}"
    session.show_run(
        response, run_view(response, f"{heading}\nWhat they answered: understudy get {result.alias}")
    )
