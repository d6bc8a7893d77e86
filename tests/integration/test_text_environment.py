"""The text environment: alone, with simulated people, and in a worker."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select

from tests.environments import Journey, simulate, stored
from tests.factories import make_ask, make_participants
from tests.integration.test_worker import Worker
from understudy.domain.people import generate_people
from understudy.domain.simulation import Action, Assignment, Observation, Person, Turn
from understudy.environments import EnvironmentUnreachable
from understudy.environments.text import TextEnvironment
from understudy.minds.heuristic import HeuristicMind
from understudy.settings import Settings
from understudy.store import lineage, studies
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


# -- the environment ---------------------------------------------------------------------------------------


def test_variants_are_read_in_pieces_before_the_questions() -> None:
    environment = opened(*VARIANTS)
    seen = environment.observe()
    assert (seen.url, seen.title, seen.text) == ("text://A/1", "Variant A", LOUD)
    pages = [seen, *(act(environment, "read") for _ in range(5))]
    places = ["text://A/1", "text://B/1", "text://B/2", "text://C/1", "text://answer", "text://answer"]
    assert [page.url for page in pages] == places
    assert (pages[-1].actions, pages[-1].over) == (("follow", "answer"), False)
    assert "no more to read" in pages[-1].problem
    assert "A: Buy our mug now!!!" in pages[-1].text


def test_question_of_a_text_is_an_element_to_act_on() -> None:
    elements = {element.label: element for element in opened(LOUD, QUIET).observe().elements}
    assert elements["Which one do you pick?"].options == ("A", "B", "none")
    assert elements["How good is B?"].options == ("1", "2", "3", "4", "5")
    assert elements["Why?"].kind == "textarea"


@pytest.mark.parametrize(
    ("element", "url", "is_problem"),
    [(3, "text://C/1", False), (4, "text://answer", False)] + [(wrong, "text://A/1", True) for wrong in (5, 99, None)],
)
def test_follow_leads_to_a_variant_or_to_the_questions(element: int | None, url: str, is_problem: bool) -> None:
    seen = act(opened(*VARIANTS), "follow", element)
    assert (seen.url, bool(seen.problem)) == (url, is_problem)


def test_answer_ends_the_run_and_can_be_replaced_after_a_restore() -> None:
    environment = opened(LOUD, QUIET)
    seen = act(environment, "answer", value=GOOD)
    assert (seen.url, seen.over, seen.problem) == ("text://answered", True, "")
    restored = TextEnvironment({"variants": [LOUD, QUIET]}, allow_private_hosts=False)
    asyncio.run(restored.restore(stored(environment.snapshot())))
    assert restored.observe().url == "text://answered"
    given = {element.label: element.value for element in restored.observe().elements}
    assert (given["Which one do you pick?"], given["How good is A?"]) == ("B", "2")
    assert act(restored, "follow", 1).over is False
    assert act(restored, "answer", value=GOOD | {"pick": "A"}).over is True


@pytest.mark.parametrize(
    ("kind", "value", "problem"), [("answer", GOOD | {"pick": "C"}, "one of A, B"), ("press", None, "press")]
)
def test_invalid_action_is_a_problem_and_changes_nothing(kind: str, value: Any, problem: str) -> None:
    seen = act(opened(LOUD, QUIET), kind, 1, value)
    assert (seen.url, seen.over) == ("text://A/1", False)
    assert problem in seen.problem


@pytest.mark.parametrize("content", [{}, {"variants": []}, {"variants": "text"}, {"variants": [" "]}])
def test_environment_without_texts_is_unreachable(content: dict[str, Any]) -> None:
    environment = TextEnvironment(content, allow_private_hosts=False)
    with pytest.raises(EnvironmentUnreachable, match=r"variants must be|variant A"):
        asyncio.run(environment.open())


# -- people ------------------------------------------------------------------------------------------------


def read(person: Person, *variants: str, **options: Any) -> Journey:
    environment = TextEnvironment({"variants": list(variants)}, allow_private_hosts=False)
    return asyncio.run(simulate(environment, person, Assignment(QUESTION), **{"cap": 30, **options}))


def answer(person: Person, *variants: str, **options: Any) -> dict[str, Any]:
    journey = read(person, *variants, **options)
    assert journey.end == "answer"
    return dict(journey.actions[-1].value)


PEOPLE = generate_people(40, 3)


def test_most_people_pick_the_plain_text_and_their_answers_differ() -> None:
    answers = [answer(person, *VARIANTS) for person in PEOPLE]
    picks = [one["pick"] for one in answers]
    assert picks.count("B") > len(PEOPLE) / 2
    assert len(set(picks)) > 1
    assert len({str(one["ratings"]) for one in answers}) > 5
    assert all(one["comment"] for one in answers)


def test_same_person_and_seed_make_the_same_decisions() -> None:
    first, second = ([read(person, *VARIANTS).decisions for person in PEOPLE[:5]] for _ in range(2))
    assert first == second
    assert len({str(answer(PEOPLE[0], *VARIANTS, seed=seed)) for seed in range(10)}) > 1


def test_rating_does_not_depend_on_the_order_of_the_variants() -> None:
    ratings = [answer(person, LOUD, HEAVY)["ratings"] for person in PEOPLE[:10]]
    swapped = [answer(person, HEAVY, LOUD)["ratings"] for person in PEOPLE[:10]]
    assert ratings == [{"A": one["B"], "B": one["A"]} for one in swapped]


@pytest.mark.parametrize("cap", [1, 2, 3, 5])
def test_people_answer_within_the_cap_and_rate_what_they_could_read(cap: int) -> None:
    done = [read(person, QUIET, QUIET + "More. ", HEAVY, cap=cap) for person in PEOPLE[:10]]
    assert max(len(journey.decisions) for journey in done) <= cap
    assert [len(journey.actions[-1].value["ratings"]) for journey in done] == [min(cap, 3)] * 10


def test_impatient_people_skip_and_thorough_people_read_everything() -> None:
    def pieces(trait: float) -> int:
        person = Person("Ada", 30, "GB", "en", {"patience": trait, "thoroughness": trait})
        long = [f"{number}. {QUIET * 5}" for number in range(3)]
        return sum(read(person, *long, cap=200, seed=seed).kinds.count("read") for seed in range(5))

    assert pieces(0.0) < pieces(1.0) / 2


@pytest.mark.parametrize(
    ("instruction", "pick"),
    [("Choose variant C.", "C"), ("Only hydration counts.", "C"), ("Only a limited offer counts.", "A")],
)
def test_people_read_again_and_follow_an_instruction(instruction: str, pick: str) -> None:
    children = [
        read(person, *VARIANTS, source=read(person, *VARIANTS), instruction=instruction, cap=10)
        for person in PEOPLE[:10]
    ]
    assert [(child.kinds[0], child.kinds[-1]) for child in children] == [("follow", "answer")] * 10
    assert [child.actions[-1].value["pick"] for child in children].count(pick) >= 8


def test_extended_people_without_an_instruction_give_the_same_answer() -> None:
    person = next(one for one in PEOPLE if one.traits["thoroughness"] > 0.8)
    source = read(person, *VARIANTS)
    assert answer(person, *VARIANTS, source=source) == source.actions[-1].value


@pytest.mark.parametrize("memory", [{"liked": 7}, {"liked": {"A": [1, 2]}}, {"liked": {"A": None}}, {"told": 7}])
def test_invalid_memory_is_ignored(memory: dict[str, Any]) -> None:
    turn = Turn(PEOPLE[0], Assignment(QUESTION), opened(*VARIANTS).observe(), memory=memory, remaining=9)
    assert asyncio.run(HeuristicMind().decide(turn)).action.kind in {"read", "follow"}


# -- the worker --------------------------------------------------------------------------------------------


@pytest.fixture
def worker(settings: Settings, store: Store) -> Iterator[Worker]:
    made = Worker(settings, store)
    yield made
    made.close()


def actions(worker: Worker, id_: UUID) -> list[dict[str, Any]]:
    return worker.read(lambda connection: [row.action for row in lineage.interactions(connection, id_, limit=99)])


def test_participant_of_an_ask_reads_and_answers(worker: Worker) -> None:
    _, ((id_, _), _) = make_ask(worker.store, worker.workspace_id)
    worker.run(id_)
    row = worker.row(id_)
    assert (row.status, row.outcome, row.interaction_count) == ("completed", None, 3)
    done = actions(worker, id_)
    assert [action["kind"] for action in done] == ["read", "read", "answer"]
    assert set(done[-1]["value"]) == {"pick", "ratings", "comment"}
    assert done[-1]["target"] == done[-1]["value"]["pick"]


def extend(worker: Worker, source: UUID, instruction: str | None = None) -> UUID:
    """The id of the child, after its run."""
    child = worker.extend(source, 10, instruction).id
    worker.run(child)
    return child


@pytest.mark.parametrize("pick", ["A", "B"])
def test_extend_after_an_answer_gives_another_answer(worker: Worker, pick: str) -> None:
    _, ((source, _), _) = make_ask(worker.store, worker.workspace_id)
    worker.run(source)
    child = extend(worker, source, f"Choose variant {pick}.")
    row = worker.row(child)
    assert (row.status, row.outcome, row.branched_at, row.round) == ("completed", None, 3, 1)
    assert actions(worker, child)[-1]["value"]["pick"] == pick


def test_extend_after_the_cap_continues_from_the_last_piece(worker: Worker) -> None:
    _, ((source, _), _) = make_ask(worker.store, worker.workspace_id)
    capped = Tables.participant.update().where(Tables.participant.c.id == source).values(max_interactions=1)
    worker.write(Connection.execute, capped)
    worker.run(source)
    assert actions(worker, extend(worker, source))[-1]["kind"] == "answer"
    with worker.store.read() as connection:
        states = connection.scalars(select(Tables.checkpoint.c.state)).all()
    assert {state["environment"]["place"] for state in states} == {"answered"}


def test_extend_of_a_participant_cancelled_before_its_start_reads_everything(worker: Worker) -> None:
    _, ((source, _), _) = make_ask(worker.store, worker.workspace_id)
    worker.cancel(source)
    child = extend(worker, source)
    assert [action["kind"] for action in actions(worker, child)] == ["read", "read", "answer"]


def test_text_study_can_have_a_success_condition(worker: Worker) -> None:
    def make(connection: Connection) -> tuple[UUID, UUID]:
        assignment = {"task": QUESTION, "success": {"url_contains": "answered"}}
        study_id = studies.insert_study(
            connection, worker.workspace_id, name="Mugs", modality="text", assignment=assignment, questions=[]
        )
        content = {"environment": "text", "variants": VARIANTS}
        settings = {"max_interactions": None, "mind": "heuristic", "step_timeout_s": 60, "run_timeout_s": 60}
        return study_id, studies.insert_iteration(
            connection, worker.workspace_id, study_id, content=content, **settings
        )

    made = worker.store.write(make)
    (id_,) = make_participants(worker.store, worker.workspace_id, *made, max_interactions=20)
    worker.run(id_)
    row = worker.row(id_)
    assert (row.status, row.outcome) == ("completed", "succeeded")
    assert actions(worker, id_)[-1]["kind"] == "answer"
