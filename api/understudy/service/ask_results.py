"""Implements ask_get: results by round, by person, and between rounds. Source: contract section 6.

One pass over one row per person and round computes all counts. People come in pages, which bounds the answer.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import TERMINAL, Status
from understudy.domain.variants import RATINGS, labels
from understudy.envelopes.asks import (
    Answer,
    Ask,
    AskFull,
    AskPerParticipant,
    AskSummary,
    FailedPerson,
    PersonAnswers,
    PickChange,
    PickTransition,
    RoundChange,
    RoundResult,
    VariantChange,
    VariantResult,
)
from understudy.envelopes.base import Page
from understudy.operations.requests import DEFAULT_PAGE, AskView
from understudy.service import Service
from understudy.service.pages import take_items
from understudy.service.participants import describe_usage
from understudy.store import Connection, asks, usage
from understudy.store.aliases import find
from understudy.store.asks import RoundAnswer
from understudy.store.engine import AnyRow

AskAnswer: TypeAlias = AskFull | AskPerParticipant | AskSummary

#: Maximum characters of a variant in a summary.
_SHOWN = 100
#: Maximum failed people that a summary lists per round.
_MAX_FAILED_LISTED = 20


def list_asks(service: Service, workspace_id: UUID, cursor: str | None, limit: int, *, newest_first: bool) -> Page[Ask]:
    """Returns a page of asks, in order of creation or newest first."""
    with service.store.read() as connection:
        rows, following = asks.page_of_asks(connection, workspace_id, cursor, limit, newest_first=newest_first)
    return Page(items=[Ask.model_validate(row, from_attributes=True) for row in rows], next_cursor=following)


def get_ask(
    service: Service,
    workspace_id: UUID,
    ref: str,
    view: AskView,
    cursor: str | None = None,
    limit: int | None = None,
) -> AskAnswer:
    """Returns an ask in one of its views; `per_participant` and `full` have a page of people.

    Raises NotFound; ValidationError for an invalid cursor, or for one with the view `summary`.
    """
    if view == "summary" and (cursor is not None or limit is not None):
        raise ValidationError("cursor and limit go with the views per_participant and full; view is summary.")
    with service.store.read() as connection:
        ask = find(connection, workspace_id, Kind.ASK, ref, "ask_id")
        rounds = asks.rounds_of(connection, ask.id)
        summary = _summary(connection, ask, rounds, whole_texts=view == "full")
        if view == "summary":
            return summary
        people, following = _people(connection, ask, rounds, cursor, limit or DEFAULT_PAGE)
    paged = AskPerParticipant(**dict(summary), people=people, next_cursor=following)
    if view == "per_participant":
        return paged
    return AskFull(
        **dict(paged),
        mind=ask.mind,
        max_interactions=ask.max_interactions,
        step_timeout=ask.step_timeout_s,
        run_timeout=ask.run_timeout_s,
    )


# -- figures -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _RoundCounts:
    """The counts of one round."""

    row: AnyRow
    labels: list[str]
    people: int = 0
    answered: int = 0
    picks: Counter[str | None] = field(default_factory=Counter)
    rating_sums: Counter[str] = field(default_factory=Counter)
    rating_counts: Counter[str] = field(default_factory=Counter)
    errored: list[FailedPerson] = field(default_factory=list)
    errored_count: int = 0
    #: Person -> pick, for people with an answer.
    picked: dict[UUID, str | None] = field(default_factory=dict)

    def count(self, answer: RoundAnswer) -> None:
        self.people += 1
        if answer.answered:
            choice = _choice(answer, self.labels)
            self.answered += 1
            self.picks[choice.pick] += 1
            self.picked[answer.person_id] = choice.pick
            self.rating_sums.update(choice.ratings)
            self.rating_counts.update(choice.ratings.keys())
        elif answer.status == Status.FAILED:
            self.errored_count += 1
            if len(self.errored) < _MAX_FAILED_LISTED:
                self.errored.append(FailedPerson.model_validate(answer, from_attributes=True))

    def mean_rating(self, label: str) -> float | None:
        count = self.rating_counts[label]
        return round(self.rating_sums[label] / count, 2) if count else None


class _Choice(NamedTuple):
    pick: str | None
    ratings: dict[str, int]


def _choice(answer: RoundAnswer, variant_labels: Sequence[str]) -> _Choice:
    """Returns the valid part of an answer: a third-party environment may store anything."""
    raw: Any = answer.ratings if isinstance(answer.ratings, dict) else {}
    ratings = {label: raw[label] for label in variant_labels if _is_rating(raw.get(label))}
    return _Choice(answer.pick if answer.pick in variant_labels else None, ratings)


def _is_rating(value: Any) -> bool:
    return type(value) is int and value in RATINGS


def _summary(connection: Connection, ask: AnyRow, rows: Sequence[AnyRow], *, whole_texts: bool) -> AskSummary:
    tallies = {row.number: _RoundCounts(row, labels(row.variants)) for row in rows}
    statuses = asks.status_counts(connection, ask.id)
    for answer in asks.round_answers(connection, ask.id):
        tallies[answer.round].count(answer)
    rounds = [_round(tally, statuses[number], whole_texts=whole_texts) for number, tally in tallies.items()]
    return AskSummary(
        ask_id=ask.id,
        alias=ask.alias,
        question=ask.question,
        round_count=ask.round_count,
        created_at=ask.created_at,
        rounds=rounds,
        changes=[_change(before, after) for before, after in pairwise(tallies.values())],
        partial=any(result.partial for result in rounds),
        usage=describe_usage(usage.sum_for_ask(connection, ask.id)),
    )


def _round(tally: _RoundCounts, statuses: dict[str, int], *, whole_texts: bool) -> RoundResult:
    max_picks = max((tally.picks[label] for label in tally.labels), default=0)
    first = [label for label in tally.labels if max_picks and tally.picks[label] == max_picks]
    still_open = sum(count for status, count in statuses.items() if Status(status) not in TERMINAL)
    return RoundResult(
        round=tally.row.number,
        question=tally.row.question,
        created_at=tally.row.created_at,
        participant_count=sum(statuses.values()),
        **{f"{status}_count": count for status, count in statuses.items()},
        people_count=tally.people,
        answered_count=tally.answered,
        no_pick_count=tally.picks[None],
        variants=[
            VariantResult(
                label=label,
                text=text if whole_texts or len(text) <= _SHOWN else f"{text[:_SHOWN]}…",
                picks=tally.picks[label],
                rating_count=tally.rating_counts[label],
                mean_rating=tally.mean_rating(label),
            )
            for label, text in zip(tally.labels, tally.row.variants, strict=True)
        ],
        winner=first[0] if len(first) == 1 else None,
        tie=first if len(first) > 1 else [],
        errored=tally.errored,
        errored_count=tally.errored_count,
        partial=still_open > 0 or tally.errored_count > 0,
    )


def _change(before: _RoundCounts, after: _RoundCounts) -> RoundChange:
    both = before.picked.keys() & after.picked.keys()
    moves = Counter((before.picked[person], after.picked[person]) for person in both)
    changed = {move: count for move, count in moves.items() if move[0] != move[1]}
    in_order = sorted(changed.items(), key=lambda move: (-move[1], str(move[0])))
    shared = zip(before.labels, before.row.variants, after.row.variants, strict=False)
    return RoundChange(
        from_round=before.row.number,
        to_round=after.row.number,
        question_changed=before.row.question != after.row.question,
        answered_both_count=len(both),
        same_pick_count=len(both) - sum(changed.values()),
        changed_pick_count=sum(changed.values()),
        moves=[PickTransition(from_pick=was, to_pick=now, count=count) for (was, now), count in in_order],
        variants=[_variant_change(before, after, label, was != now) for label, was, now in shared],
    )


def _variant_change(before: _RoundCounts, after: _RoundCounts, label: str, text_changed: bool) -> VariantChange:
    was, now = before.mean_rating(label), after.mean_rating(label)
    return VariantChange(
        label=label,
        text_changed=text_changed,
        picks_delta=after.picks[label] - before.picks[label],
        mean_rating_delta=None if was is None or now is None else round(now - was, 2),
    )


# -- people ------------------------------------------------------------------------------------------------


def _people(
    connection: Connection, ask: AnyRow, rounds: Sequence[AnyRow], cursor: str | None, limit: int
) -> tuple[list[PersonAnswers], str | None]:
    rows, following = asks.page_of_panel(connection, ask.id, cursor, limit)
    variant_labels = {row.number: labels(row.variants) for row in rounds}
    answers: dict[UUID, list[Answer]] = {row.person_id: [] for row in rows}
    for answer in asks.round_answers(connection, ask.id, list(answers), comments=True):
        answers[answer.person_id].append(_answer(answer, variant_labels[answer.round]))
    people = take_items(
        PersonAnswers(
            person_id=row.person_id,
            person_name=row.person_name,
            answers=answers[row.person_id],
            changes=list(_pick_changes(answers[row.person_id])),
        )
        for row in rows
    )
    if len(people) < len(rows):
        _, following = asks.page_of_panel(connection, ask.id, cursor, len(people))
    return people, following


def _answer(answer: RoundAnswer, variant_labels: Sequence[str]) -> Answer:
    choice = _choice(answer, variant_labels)
    return Answer(
        round=answer.round,
        participant_id=answer.participant_id,
        alias=answer.alias,
        status=answer.status,
        outcome=answer.outcome,
        error_kind=answer.error_kind,
        answered=answer.answered,
        pick=choice.pick,
        ratings=choice.ratings if answer.answered else None,
        comment=answer.comment,
        sentiment=answer.sentiment,
    )


def _pick_changes(answers: Iterable[Answer]) -> Iterable[PickChange]:
    for before, after in pairwise(answers):
        both = before.answered and after.answered
        if both and after.round == before.round + 1 and before.pick != after.pick:
            yield PickChange(from_round=before.round, to_round=after.round, from_pick=before.pick, to_pick=after.pick)
