"""The command that asks people about texts."""

from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.ask_views import ask_table, ask_view
from understudy.cli.console import CommandContext
from understudy.cli.filters import Age, Country, Language, Search, Trait, parse_people_filter
from understudy.cli.numbers import positive_number
from understudy.cli.options import Mind, Seed, Timeout, Wait
from understudy.cli.render import plain, run_view
from understudy.domain.errors import ValidationError

if TYPE_CHECKING:
    from understudy.envelopes.simulations import RunFailure, RunSuccess

_DEFAULT_PEOPLE = 5


def ask(
    session: CommandContext,
    *,
    question: Annotated[str | None, typer.Option(metavar="TEXT", help="Question about the variants.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Text to choose from. Repeat for each text; the labels are A, B, C…"),
    ] = None,
    next_: Annotated[
        str | None, typer.Option("--next", metavar="A", help="Open the next round of this ask with the same people.")
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
    seed: Seed = None,
    mind: Mind = None,
    wait: Wait = False,
    timeout: Timeout = 600.0,
) -> None:
    """Ask people which text they pick, and why. Without options: list your asks.

    The next round asks the same people; omitted options keep their values.
    """
    texts = variant or None
    where = parse_people_filter(age, country, language, trait, search)
    if next_ is None and question is None and texts is None:
        if where or (number, seed, mind, wait) != (None, None, None, False):
            raise ValidationError("give --question and --variant for a new ask, or --next for a new round")
        _list(session)
        return
    waiting = "Waiting until all have finished. Ctrl-C stops waiting; the run continues."
    if next_ is not None:
        if where or number is not None or mind is not None:
            raise ValidationError("--next keeps the people and --mind of round 1: omit these options")
        session.resume_command = f"understudy get {next_}"
        with session.waiting(waiting, shown=wait):
            response = session.client.ask_round(
                next_, question=question, variants=texts, seed=seed, wait=wait, timeout=timeout
            )
    else:
        if question is None or texts is None:
            raise ValidationError("give --question and at least one --variant, or give --next")
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
        session.show(plain("No asks yet. Create one with `understudy ask --question … --variant …`.", "dim"))


def _show(session: CommandContext, response: "RunSuccess | RunFailure", *, wait: bool) -> None:
    dispatch = response.dispatch
    if session.as_json or dispatch is None or dispatch.ask_id is None:
        session.show_run(response, run_view(response))
        return
    result = session.client.ask_get(dispatch.ask_id)
    if response.ok and wait:
        session.show(ask_view(result), plain(f"Answers: understudy get {result.alias}", "dim"))
        return
    heading = f"Ask {result.alias}, round {dispatch.round}: {result.rounds[-1].question}"
    session.show_run(response, run_view(response, f"{heading}\nAnswers: understudy get {result.alias}"))
