"""Views of asks and their answers."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.cli.render import (
    STATUS_STYLES,
    counts_text,
    empty_table,
    key_value_table,
    plain,
    status_text,
    usage_text,
)

if TYPE_CHECKING:
    from understudy.envelopes.asks import (
        Answer,
        Ask,
        AskFull,
        AskPerParticipant,
        AskSummary,
        PersonAnswers,
        RoundChange,
        RoundResult,
    )


def ask_table(asks: "Sequence[Ask]") -> Table:
    table = empty_table("ask", "rounds", "question")
    for ask in asks:
        table.add_row(plain(ask.alias), str(ask.round_count), plain(ask.question))
    return table


def ask_view(ask: "AskSummary") -> RenderableType:
    """Shows every round with winner, picks and ratings, and the changes between rounds."""
    views: list[RenderableType] = [Text.assemble(("Ask ", "bold"), plain(ask.alias, "bold"), "  ", plain(ask.question))]
    changes = {change.to_round: change for change in ask.changes}
    for round_ in ask.rounds:
        views += [Text(), _round_view(round_, ask.question)]
        if round_.round in changes:
            views.append(_change_view(changes[round_.round]))
    if ask.usage is not None:
        views += [Text(), key_value_table(model=usage_text(ask.usage))]
    return Group(*views)


def settings_view(ask: "AskFull") -> RenderableType:
    return key_value_table(
        mind=ask.mind,
        max_interactions=ask.max_interactions or "",
        timeouts=f"{ask.step_timeout:g} s a step, {ask.run_timeout:g} s a run",
    )


def people_table(ask: "AskPerParticipant") -> RenderableType:
    """Shows a page of people with their answers in every round."""
    table = empty_table("name", "round", "participant", "status", "pick", "ratings", "comment")
    for person in ask.people:
        for row in _person_rows(person):
            table.add_row(*row)
    return table


def _round_view(result: "RoundResult", first_question: str) -> RenderableType:
    statuses = {status: getattr(result, f"{status}_count") for status in STATUS_STYLES}
    table = empty_table("variant", "text", "picks", "rating")
    for variant in result.variants:
        rating = "" if variant.mean_rating is None else f"{variant.mean_rating:.2f} ({variant.rating_count})"
        style = "green" if variant.label == result.winner else ""
        table.add_row(plain(variant.label, style), plain(variant.text), str(variant.picks), rating)
    return Group(
        plain(f"Round {result.round}: {_winner_text(result)}", "bold"),
        key_value_table(
            question="" if result.question == first_question else result.question,
            participants=counts_text(statuses),
            answered=f"{result.answered_count} of {result.people_count}",
            picked_none=result.no_pick_count or "",
            failed=_failed_text(result),
        ),
        table,
    )


def _winner_text(result: "RoundResult") -> str:
    if result.winner is not None:
        return f"{result.winner} wins"
    if result.tie:
        return f"a tie of {', '.join(result.tie)}"
    return "no variant picked" if result.answered_count or not result.partial else "no answers yet"


def _failed_text(result: "RoundResult") -> str:
    named = [f"{error.alias} ({error.error_kind})" for error in result.errored]
    rest = result.errored_count - len(named)
    return ", ".join([*named, *([f"and {rest} more"] if rest else [])])


def _change_view(change: "RoundChange") -> RenderableType:
    moves = ", ".join(f"{_pick(move.from_pick)} → {_pick(move.to_pick)} {move.count}" for move in change.moves)
    summary = f"  {change.changed_pick_count} of {change.answered_both_count} changed their pick"
    return plain(f"{summary} since round {change.from_round}{': ' + moves if moves else ''}", "dim")


def _person_rows(person: "PersonAnswers") -> Iterable[list[Text]]:
    changed = {change.to_round for change in person.changes}
    for number, answer in enumerate(person.answers):
        yield [
            plain("" if number else person.person_name),
            plain(answer.round),
            plain(answer.alias),
            status_text(answer.status),
            plain(_pick(answer.pick) if answer.answered else "", "yellow" if answer.round in changed else ""),
            plain(" ".join(f"{label}{rating}" for label, rating in (answer.ratings or {}).items())),
            _answer_cell(answer),
        ]


def _answer_cell(answer: "Answer") -> Text:
    return plain(answer.error_kind, "red") if answer.error_kind else plain(answer.comment or "")


def _pick(label: str | None) -> str:
    return label or "none"
