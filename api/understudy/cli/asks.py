"""The command that asks people about texts."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.ask_views import ask_table, ask_view
from understudy.cli.console import CommandContext
from understudy.cli.filters import Age, Country, Language, Search, Trait, parse_people_filter
from understudy.cli.generated_options import OPTIONS
from understudy.cli.numbers import positive_number, seconds
from understudy.cli.operation_options import fields_of
from understudy.cli.options import DEFAULT_TIMEOUT_S, Cursor, Limit, Wait
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
    wait: Wait = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="With --wait: stop waiting after SECONDS; the run continues.",
            show_default="600",
        ),
    ] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    options: dict[str, Any],
) -> None:
    """Ask people which text they pick, and why. Without options: list your asks.

    The next round asks the same people; omitted options keep their values.
    """
    texts = variant or None
    where = parse_people_filter(age, country, language, trait, search)
    if next_ is None and question is None and texts is None:
        if where or number or wait or timeout or any(value is not None for value in options.values()):
            raise ValidationError("give --question and --variant for a new ask, or --next for a new round")
        _list(session, limit, cursor)
        return
    if limit or cursor:
        raise ValidationError("--limit and --cursor are for the list of asks: omit them")
    if timeout is not None and not wait:
        raise ValidationError("--timeout requires --wait")
    waits: dict[str, Any] = {"wait": True, "timeout": timeout or DEFAULT_TIMEOUT_S} if wait else {}
    key = options["idempotency_key"]
    waiting = session.waiting("Waiting until all have finished. Ctrl-C stops waiting; the run continues.", shown=wait)
    if next_ is not None:
        fields = fields_of("ask_round", options)
        fixed = [name for name, value in options.items() if value is not None and name not in OPTIONS["ask_round"]]
        if where or number is not None or fixed:
            raise ValidationError("--next keeps the people, --mind and limits of round 1: omit these options")
        session.resume_command = f"understudy get {next_}"
        with waiting:
            response = session.client.ask_round(
                next_, question=question, variants=texts, **fields, **waits, idempotency_key=key
            )
    else:
        if question is None or texts is None:
            raise ValidationError("give --question and at least one --variant, or give --next")
        fields = fields_of("ask_run", options)
        with waiting:
            response = session.client.ask_run(
                question,
                texts,
                sample=number or _DEFAULT_PEOPLE,
                where=where or None,
                **fields,
                **waits,
                idempotency_key=key,
            )
    _show(session, response, wait=wait)


def _list(session: CommandContext, limit: int | None, cursor: str | None) -> None:
    asks = session.client.ask_list(limit=limit, cursor=cursor)
    if asks.items:
        command = "ask" if limit is None else f"ask --limit {limit}"
        session.show(ask_table(asks.items), *session.next_page_hint(asks.next_cursor, command))
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
