"""People who read texts and answer: environment, mind and worker together."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select

from tests.factories import make_ask, make_participants
from tests.integration.test_worker import Workshop
from understudy.domain.people import generate_people
from understudy.domain.simulation import Action, Assignment, Decision, Json, Observation, Person, Turn
from understudy.environments import EnvironmentUnreachable
from understudy.environments.text import TextEnvironment
from understudy.minds.heuristic import HeuristicMind
from understudy.settings import Settings
from understudy.store import dispatch, lifecycle, lineage, studies
from understudy.store.engine import Store
from understudy.store.schema import Tables

QUESTION = "Which text makes you want to buy a mug?"
LOUD = "Buy our mug now!!! LIMITED OFFER!!! Act TODAY!!!"
QUIET = "A mug for quiet mornings. Hand-made in Ghent, returned free of charge.\n\n" + "It holds a lot. " * 50
HEAVY = (
    "Utilising state-of-the-art ceramic manufacturing methodologies, our organisation is positioned to "
    "deliver beverage containment solutions that facilitate the optimisation of hydration experiences across "
    "heterogeneous consumer segments."
)
VARIANTS = [LOUD, QUIET, HEAVY]
GOOD = {"pick": "B", "ratings": {"A": 2, "B": 4}, "comment": "It is short."}


def opened(*variants: str) -> TextEnvironment:
    environment = TextEnvironment({"environment": "text", "variants": list(variants)}, allow_private_hosts=False)
    asyncio.run(environment.open())
    return environment


def act(environment: TextEnvironment, kind: str, element: int | None = None, value: Any = None) -> Observation:
    asyncio.run(environment.act(Action(kind, element, value=value)))
    return environment.observe()


def again(environment: TextEnvironment, *variants: str) -> TextEnvironment:
    """Another one, restored from the snapshot as it comes out of the store."""
    fresh = TextEnvironment({"variants": list(variants)}, allow_private_hosts=False)
    asyncio.run(fresh.restore(json.loads(json.dumps(environment.snapshot()))))
    return fresh


# -- the environment ---------------------------------------------------------------------------------------


def test_variants_are_read_piece_by_piece_and_then_one_is_asked() -> None:
    environment = opened(*VARIANTS)
    seen = environment.observe()
    assert (seen.url, seen.title, seen.text) == ("text://A/1", "Variant A", LOUD)
    places = []
    for _ in range(5):
        places.append(seen.url)
        seen = act(environment, "read")
    assert places == ["text://A/1", "text://B/1", "text://B/2", "text://C/1", "text://answer"]
    assert (seen.actions, seen.over) == (("follow", "answer"), False)
    assert "nothing" not in seen.problem
    assert "no more to read" in seen.problem
    assert "A: Buy our mug now!!!" in seen.text


def test_what_is_asked_stands_in_the_elements() -> None:
    elements = {element.label: element for element in opened(LOUD, QUIET).observe().elements}
    assert elements["Which one do you pick?"].options == ("A", "B", "none")
    assert elements["How good is B?"].options == ("1", "2", "3", "4", "5")
    assert elements["Why?"].kind == "textarea"


def test_one_may_turn_to_a_variant_or_to_the_questions() -> None:
    environment = opened(*VARIANTS)
    assert act(environment, "follow", 3).url == "text://C/1"
    assert act(environment, "follow", 4).url == "text://answer"
    for nowhere in (5, 99, None):
        seen = act(environment, "follow", nowhere)
        assert (seen.url, bool(seen.problem)) == ("text://answer", True)


def test_an_answer_ends_it_and_can_be_given_anew() -> None:
    environment = opened(LOUD, QUIET)
    seen = act(environment, "answer", value=GOOD)
    assert (seen.url, seen.over, seen.problem) == ("text://answered", True, "")
    taken_up = again(environment, LOUD, QUIET)
    assert taken_up.observe().url == "text://answered"
    given = {element.label: element.value for element in taken_up.observe().elements}
    assert (given["Which one do you pick?"], given["How good is A?"]) == ("B", "2")
    assert act(taken_up, "follow", 1).over is False
    assert act(taken_up, "answer", value=GOOD | {"pick": "A"}).over is True


def test_an_answer_that_is_none_is_told_and_changes_nothing() -> None:
    environment = opened(LOUD, QUIET)
    seen = act(environment, "answer", value=GOOD | {"pick": "C"})
    assert (seen.url, seen.over) == ("text://A/1", False)
    assert "one of A, B" in seen.problem
    seen = act(environment, "press", 1)
    assert (seen.over, "press" in seen.problem) == (False, True)


@pytest.mark.parametrize("content", [{}, {"variants": []}, {"variants": "text"}, {"variants": [" "]}])
def test_without_texts_there_is_nowhere_to_go(content: dict[str, Any]) -> None:
    environment = TextEnvironment(content, allow_private_hosts=False)
    with pytest.raises(EnvironmentUnreachable, match=r"variants must be|variant A"):
        asyncio.run(environment.open())


# -- people ------------------------------------------------------------------------------------------------


@dataclass
class Reading:
    """One person's way through the texts."""

    environment: TextEnvironment
    decisions: list[Decision] = field(default_factory=list)
    memory: Json = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        return [decision.action.kind for decision in self.decisions]

    @property
    def answer(self) -> dict[str, Any]:
        value = self.decisions[-1].action.value
        assert isinstance(value, dict)
        assert self.environment.observe().over
        return value


def read(
    person: Person,
    *variants: str,
    question: str = QUESTION,
    cap: int = 30,
    seed: int = 1,
    before: Reading | None = None,
    told: str | None = None,
) -> Reading:
    """Until the answer, or the cap; `before`: taken up again, and told something."""
    reading = Reading(again(before.environment, *variants) if before else opened(*variants))
    memory: Json = before.memory if before else {}
    for number in range(cap):
        turn = Turn(
            person,
            Assignment(question),
            reading.environment.observe(),
            instruction=told,
            resumed=before is not None and number == 0,
            memory=memory,
            seed=seed,
            remaining=cap - number,
        )
        decision = asyncio.run(HeuristicMind().decide(turn))
        memory = reading.memory = json.loads(json.dumps(decision.memory))
        reading.decisions.append(decision)
        if act(reading.environment, decision.action.kind, decision.action.element, decision.action.value).over:
            break
    return reading


EVERYBODY = generate_people(40, 3)


def test_everybody_reads_and_answers_and_most_like_what_is_plain_and_to_the_point() -> None:
    answers = [read(person, *VARIANTS).answer for person in EVERYBODY]
    picks = [answer["pick"] for answer in answers]
    assert picks.count("B") > len(EVERYBODY) / 2
    # But not all are alike.
    assert len(set(picks)) > 1
    assert len({str(answer["ratings"]) for answer in answers}) > 5
    assert all(answer["comment"] for answer in answers)


def test_the_same_person_reads_and_answers_the_same_way_again() -> None:
    for person in EVERYBODY[:5]:
        first, second = (read(person, *VARIANTS) for _ in range(2))
        assert first.decisions == second.decisions
    by_seed = {str(read(EVERYBODY[0], *VARIANTS, seed=seed).answer) for seed in range(10)}
    assert len(by_seed) > 1


def test_a_text_is_liked_the_same_wherever_it_stands() -> None:
    for person in EVERYBODY[:10]:
        one, other = read(person, LOUD, HEAVY).answer, read(person, HEAVY, LOUD).answer
        assert one["ratings"] == {"A": other["ratings"]["B"], "B": other["ratings"]["A"]}


@pytest.mark.parametrize("cap", [1, 2, 3, 5])
def test_who_has_little_time_still_answers_and_looks_at_as_many_as_it_can(cap: int) -> None:
    for person in EVERYBODY[:10]:
        reading = read(person, QUIET, QUIET + "More. ", HEAVY, cap=cap)
        assert len(reading.decisions) <= cap
        assert len(reading.answer["ratings"]) == min(cap, 3)


def test_the_impatient_skip_and_the_thorough_read_everything() -> None:
    def pieces(trait: float) -> int:
        person = Person("Ada", 30, "GB", "en", {"patience": trait, "thoroughness": trait})
        long = [f"{number}. {QUIET * 5}" for number in range(3)]
        return sum(read(person, *long, cap=200, seed=seed).kinds.count("read") for seed in range(5))

    assert pieces(0.0) < pieces(1.0) / 2


@pytest.mark.parametrize(
    ("told", "pick"),
    [("Choose variant C.", "C"), ("Only hydration counts.", "C"), ("Only a limited offer counts.", "A")],
)
def test_told_something_they_read_once_more_and_heed_it(told: str, pick: str) -> None:
    heeded = 0
    for person in EVERYBODY[:10]:
        before = read(person, *VARIANTS)
        after = read(person, *VARIANTS, before=before, told=told, cap=10)
        assert after.kinds[0] == "follow"
        assert after.kinds[-1] == "answer"
        heeded += after.answer["pick"] == pick
    assert heeded >= 8


def test_taken_up_with_nothing_new_they_come_to_the_same() -> None:
    person = next(one for one in EVERYBODY if one.traits["thoroughness"] > 0.8)
    before = read(person, *VARIANTS)
    assert read(person, *VARIANTS, before=before).answer == before.answer


@pytest.mark.parametrize("memory", [{"liked": 7}, {"liked": {"A": [1, 2]}}, {"liked": {"A": None}}, {"told": 7}])
def test_odd_memory_is_forgotten(memory: dict[str, Any]) -> None:
    turn = Turn(EVERYBODY[0], Assignment(QUESTION), opened(*VARIANTS).observe(), memory=memory, remaining=9)
    assert asyncio.run(HeuristicMind().decide(turn)).action.kind in {"read", "follow"}


# -- the worker --------------------------------------------------------------------------------------------


@pytest.fixture
def shop(settings: Settings, store: Store, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(settings, store, tmp_path)
    yield made
    made.close()


def actions(shop: Workshop, id_: UUID) -> list[dict[str, Any]]:
    with shop.store.read() as connection:
        return [row.action for row in lineage.interactions(connection, id_, limit=99)]


def test_a_participant_of_an_ask_reads_and_answers(shop: Workshop) -> None:
    _, ((id_, _), _) = make_ask(shop.store, shop.workspace_id)
    shop.run(id_)
    row = shop.row(id_)
    assert (row.status, row.outcome, row.interaction_count) == ("completed", None, 3)
    done = actions(shop, id_)
    assert [action["kind"] for action in done] == ["read", "read", "answer"]
    assert set(done[-1]["value"]) == {"pick", "ratings", "comment"}
    assert done[-1]["target"] == done[-1]["value"]["pick"]


def test_one_that_answered_is_extended_and_answers_anew(shop: Workshop) -> None:
    _, ((source, _), _) = make_ask(shop.store, shop.workspace_id)
    shop.run(source)
    for told in ("Choose variant A.", "Choose variant B."):
        child = shop.store.write(
            lambda connection, told=told: dispatch.insert_branch(connection, shop.workspace_id, source, 10, told)
        )
        assert child is not None
        shop.run(child.id)
        row = shop.row(child.id)
        assert (row.status, row.outcome, row.branched_at, row.round) == ("completed", None, 3, 1)
        assert actions(shop, child.id)[-1]["value"]["pick"] == told[-2]


def test_one_that_was_stopped_in_mid_reading_goes_on_there(shop: Workshop) -> None:
    _, ((source, _), _) = make_ask(shop.store, shop.workspace_id)
    # A draining process gives it back after nothing; so it is stopped by its cap instead.
    capped = Tables.participant.update().where(Tables.participant.c.id == source).values(max_interactions=1)
    shop.store.write(lambda connection: connection.execute(capped))
    shop.run(source)
    child = shop.store.write(lambda connection: dispatch.insert_branch(connection, shop.workspace_id, source, 10, None))
    assert child is not None
    shop.run(child.id)
    assert actions(shop, child.id)[-1]["kind"] == "answer"
    with shop.store.read() as connection:
        states = connection.scalars(select(Tables.checkpoint.c.state)).all()
    assert {state["environment"]["place"] for state in states} == {"answered"}


def test_one_that_waited_and_was_cancelled_reads_from_the_start_when_extended(shop: Workshop) -> None:
    _, ((source, _), _) = make_ask(shop.store, shop.workspace_id)
    shop.store.write(lambda connection: lifecycle.cancel(connection, shop.workspace_id, [source]))
    child = shop.store.write(lambda connection: dispatch.insert_branch(connection, shop.workspace_id, source, 10, None))
    assert child is not None
    shop.run(child.id)
    assert [action["kind"] for action in actions(shop, child.id)] == ["read", "read", "answer"]


def test_a_study_of_texts_has_success_like_any_other(shop: Workshop) -> None:
    def make(connection: Connection) -> tuple[UUID, UUID]:
        study_id = studies.insert_study(
            connection,
            shop.workspace_id,
            name="Mugs",
            modality="text",
            assignment={"task": QUESTION, "success": {"url_contains": "answered"}},
            questions=[],
        )
        iteration_id = studies.insert_iteration(
            connection,
            shop.workspace_id,
            study_id,
            content={"environment": "text", "variants": VARIANTS},
            max_interactions=None,
            mind="heuristic",
            step_timeout_s=60,
            run_timeout_s=60,
        )
        return study_id, iteration_id

    made = shop.store.write(make)
    (id_,) = make_participants(shop.store, shop.workspace_id, *made, max_interactions=20)
    shop.run(id_)
    row = shop.row(id_)
    assert (row.status, row.outcome) == ("completed", "succeeded")
    assert actions(shop, id_)[-1]["kind"] == "answer"
