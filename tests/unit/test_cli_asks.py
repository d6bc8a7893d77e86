"""Asks on the command line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from tests.fake_api import DISPATCHED, NOW, OVER, TOO_LATE, FakeApi, example
from understudy.envelopes.asks import (
    Answer,
    AskSummary,
    FailedPerson,
    PersonAnswers,
    RoundChange,
    RoundResult,
    VariantChange,
    VariantResult,
)

Cli = Callable[..., Result]

A1 = "a1b00000-0000-4000-8000-000000000009"
ASKED = {"dispatch": DISPATCHED["dispatch"] | {"ask_id": A1, "round": 1, "max_interactions": 3}}
QUESTION = ["--question", "Which [b]mug[/b]?", "--variant", "This one.", "--variant", "That one."]


VARIANTS = [
    example(VariantResult, label="A", text="This \x1b[2Jone.", picks=2, rating_count=2, mean_rating=4.5),
    example(VariantResult, label="B", text="That one."),
]
ERRORED = [example(FailedPerson, alias="t-2e4", error_kind="step_timeout", error_message="too slow")]
ROUND = example(
    RoundResult, round=1, question="Which [b]mug[/b]?", variants=VARIANTS, winner="A", errored=ERRORED, errored_count=1
)
MOVES = [{"from_pick": "A", "to_pick": None, "count": 1}]
DELTAS = [example(VariantChange, label="A", picks_delta=-1)]
CHANGE = example(RoundChange, from_round=1, to_round=2, question_changed=True, moves=MOVES, variants=DELTAS)
ROUNDS = [ROUND, ROUND | {"round": 2, "winner": None, "tie": ["A", "B"], "question": "And now?"}]
SUMMARY = example(AskSummary, ask_id=A1, alias="a-a1b", question="Which [b]mug[/b]?", rounds=ROUNDS, changes=[CHANGE])
CHOICE = {"pick": "A", "ratings": {"A": 5, "B": 2}, "comment": "Because."}
ANSWER = example(Answer, round=1, alias="t-1f3", status="completed", answered=True, **CHOICE)
ANA = example(
    PersonAnswers, person_name="Ana Ruiz", answers=[ANSWER, ANSWER | {"round": 2, "alias": "t-9aa", "pick": None}]
)
PEOPLE = SUMMARY | {"people": [ANA], "next_cursor": "more"}
FULL = PEOPLE | {"mind": "heuristic", "max_interactions": None, "step_timeout": 60.0, "run_timeout": 3600.0}


def test_ask_dispatches_and_shows_the_next_commands(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/asks", DISPATCHED | ASKED)
    fake.give(f"/v1/asks/{A1}", SUMMARY)
    result = understudy("ask", *QUESTION, "--people", "3", "--seed", "7", "--mind", "heuristic")
    asked = {"question": "Which [b]mug[/b]?", "variants": ["This one.", "That one."]}
    assert fake.bodies[0] == asked | {"sample": 3, "seed": 7, "mind": "heuristic"}
    assert "understudy get a-a1b" in result.stdout
    assert "understudy wait t-1f3" in result.stdout


def test_ask_with_wait_shows_the_result(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/asks", OVER | ASKED)
    fake.give(f"/v1/asks/{A1}", SUMMARY)
    shown = understudy("ask", *QUESTION, "--wait", "--timeout", "9").stdout
    assert (fake.bodies[0]["wait"], fake.bodies[0]["timeout"], fake.bodies[0]["sample"]) == (True, 9, 5)
    parts = ["Round 1: A wins", "4.50 (2)", "a tie of A, B", "And now?", "t-2e4 (step_timeout)", "A → none"]
    assert [part for part in [*parts, "[b]mug[/b]"] if part not in shown] == []
    assert "\x1b" not in shown


def test_ask_with_wait_that_times_out_says_so_with_its_exit_code(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/asks", TOO_LATE | ASKED, status=202)
    fake.give(f"/v1/asks/{A1}", SUMMARY)
    result = understudy("ask", *QUESTION, "--wait")
    assert (result.exit_code, "wait_timeout" in result.stdout) == (5, True)


def test_ask_next_sends_only_changed_fields(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/asks/a-a1b/rounds", DISPATCHED | ASKED)
    result = understudy("ask", "--next", "a-a1b", "--variant", "Another.", "--json")
    assert json.loads(result.stdout) == DISPATCHED | ASKED
    assert fake.bodies == [{"variants": ["Another."]}]


def test_asks_are_listed_and_shown(fake: FakeApi, understudy: Cli) -> None:
    listed = {"id": A1, "alias": "a-a1b", "question": "Which?", "round_count": 2, "created_at": NOW}
    fake.give("/v1/asks", {"items": [listed], "next_cursor": None})
    assert "a-a1b" in understudy("ask").stdout
    fake.give("/v1/asks/a-a1b", PEOPLE)
    shown = understudy("get", "a-a1b").stdout
    assert [part for part in ("Ana Ruiz", "t-9aa", "A5 B2", "Because.", "--cursor more") if part not in shown] == []


@pytest.mark.parametrize(("view", "answer"), [("summary", SUMMARY), ("full", FULL)])
def test_views_of_an_ask(fake: FakeApi, understudy: Cli, view: str, answer: dict[str, Any]) -> None:
    fake.give("/v1/asks/a-a1b", answer)
    shown = understudy("get", "a-a1b", "--view", view).stdout
    assert ("Ana Ruiz" in shown, "60 s a step" in shown) == ((view == "full"),) * 2
    assert fake.asked[0].query == f"view={view}"


def test_watch_follows_an_ask_over_its_rounds(fake: FakeApi, understudy: Cli) -> None:
    rounds = [{**SUMMARY["rounds"][0], "running_count": count} for count in (1, 0)]
    fake.give("/v1/asks/a-a1b", *({**SUMMARY, "rounds": [one]} for one in rounds))
    result = understudy("watch", "a-a1b")
    assert (result.exit_code, "1 running" in result.stdout) == (0, True)
    assert "Answers: understudy get a-a1b" in result.stdout
