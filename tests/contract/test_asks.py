"""Asks: a question to a panel, round by round. Contract sections 1, 3, 5 and 6."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.contract.manual_worker import claim, commit, counts, end, participant, run_steps, run_to_end
from tests.http_client import ApiClient
from understudy.domain.people import generate_people
from understudy.store import people
from understudy.store.engine import Store

MUGS = ["A mug for quiet mornings.", "Buy our mug now!", "The mug."]


def ask_run(caller: ApiClient, *, status: int = 202, key: str = "", **changes: Any) -> dict[str, Any]:
    """What POST /v1/asks answers: three mugs, all four people."""
    body = {"question": "Which one would you buy?", "variants": MUGS, "sample": 4, "seed": 1} | changes
    body = {name: value for name, value in body.items() if value is not None}
    answer = caller.http.post("/v1/asks", json=body, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == status, answer.text
    return answer.json()


def ask_round(caller: ApiClient, ask: str, **body: Any) -> dict[str, Any]:
    answer = caller.post(f"/v1/asks/{ask}/rounds", body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def summary_of(caller: ApiClient, ask: str) -> dict[str, Any]:
    return caller.get(f"/v1/asks/{ask}").json()


def people_of(caller: ApiClient, ask: str) -> dict[str, dict[str, Any]]:
    """By person, as view=per_participant has them."""
    told = caller.get(f"/v1/asks/{ask}", view="per_participant").json()
    return {one["person_id"]: one for one in told["people"]}


def answers_of(caller: ApiClient, ask: str) -> list[list[dict[str, Any]]]:
    """The answers of each person."""
    return [one["answers"] for one in people_of(caller, ask).values()]


def reply(store: Store, id_: str, pick: str | None, ratings: dict[str, int] | None = None) -> None:
    """Stores what a worker stores when a person reads one variant and answers."""
    held = claim(store, UUID(id_))
    at = participant(store, UUID(id_))["interaction_count"]
    assert commit(store, held, at, action={"kind": "read", "target": "Variant A"})
    value = {"pick": pick, "ratings": ratings or {}, "comment": f"I say {pick}."}
    assert commit(store, held, at + 1, action={"kind": "answer", "target": str(pick), "value": value}, ends=True)


# -- rounds ------------------------------------------------------------------------------------------------


def test_an_ask_dispatches_all_its_people(store: Store, acme: ApiClient) -> None:
    told = ask_run(acme)
    dispatched = told["dispatch"]
    assert set(dispatched) == {"participant_ids", "aliases", "ask_id", "round", "max_interactions"}
    assert (len(set(dispatched["participant_ids"])), dispatched["round"]) == (4, 1)
    # One piece each, and the answer.
    assert dispatched["max_interactions"] == 4
    assert {one["status"] for one in told["participants"]} == {"pending"}
    assert told["next_action"]["tool"] == "simulation_wait"
    row = participant(store, UUID(dispatched["participant_ids"][0]))
    assert (row["ask_id"], row["round"], row["study_id"]) == (UUID(dispatched["ask_id"]), 1, None)
    full = acme.get(f"/v1/asks/{dispatched['ask_id']}", view="full").json()
    assert [one["text"] for one in full["rounds"][0]["variants"]] == MUGS
    assert (full["mind"], full["step_timeout"], full["run_timeout"]) == ("heuristic", 60, 3600)


def test_named_people_take_part_in_their_order_and_settings_are_stored(store: Store, acme: ApiClient) -> None:
    listed = acme.get("/v1/people").json()["items"]
    wanted = [listed[2]["id"], listed[0]["alias"]]
    settings = {"max_interactions": 7, "step_timeout": 5, "run_timeout": 50, "mind": "scripted"}
    dispatched = ask_run(acme, sample=None, person_ids=wanted, **settings)["dispatch"]
    rows = [participant(store, UUID(id_)) for id_ in dispatched["participant_ids"]]
    assert [str(row["person_id"]) for row in rows] == [listed[2]["id"], listed[0]["id"]]
    assert {row["max_interactions"] for row in rows} == {7}
    full = acme.get(f"/v1/asks/{dispatched['ask_id']}", view="full").json()
    assert {name: full[name] for name in settings} == settings
    # The cap holds for every round.
    assert ask_round(acme, dispatched["ask_id"])["dispatch"]["max_interactions"] == 7


def test_the_next_round_asks_the_same_people_with_the_same_seeds(store: Store, acme: ApiClient) -> None:
    first = ask_run(acme)["dispatch"]
    second = ask_round(acme, first["ask_id"], variants=["Another mug.", "Yet another."])["dispatch"]
    third = ask_round(acme, first["ask_id"], seed=9)["dispatch"]
    assert (second["round"], third["round"]) == (2, 3)

    def seeds(dispatched: dict[str, Any]) -> dict[UUID, int]:
        rows = (participant(store, UUID(id_)) for id_ in dispatched["participant_ids"])
        return {row["person_id"]: row["seed"] for row in rows}

    assert seeds(second) == seeds(first)
    assert seeds(third).keys() == seeds(first).keys()
    assert seeds(third) != seeds(first)
    # What is not given is as in the round before.
    rounds = summary_of(acme, first["ask_id"])["rounds"]
    assert [[one["text"] for one in round_["variants"]] for round_ in rounds[1:]] == [
        ["Another mug.", "Yet another."]
    ] * 2
    assert {round_["question"] for round_ in rounds} == {"Which one would you buy?"}


def test_an_extended_participant_adds_no_person_to_the_next_round(store: Store, acme: ApiClient) -> None:
    first = ask_run(acme, sample=1)["dispatch"]
    (source,) = first["participant_ids"]
    reply(store, source, "A")
    acme.post("/v1/simulations/extend", {"participant_id": source})
    assert len(ask_round(acme, first["ask_id"])["dispatch"]["participant_ids"]) == 1


def test_concurrent_rounds_get_different_numbers_and_a_sixth_is_refused(store: Store, acme: ApiClient) -> None:
    ask = ask_run(acme, sample=2)["dispatch"]["ask_id"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: acme.post(f"/v1/asks/{ask}/rounds", {}), range(6)))
    dispatched = [answer.json()["dispatch"] for answer in answers if answer.status_code == 202]
    assert sorted(one["round"] for one in dispatched) == [2, 3, 4, 5]
    assert {answer.status_code for answer in answers} == {202, 422}
    assert counts(store)["round"] == 5
    assert counts(store)["participant"] == 10


# -- once --------------------------------------------------------------------------------------------------


def test_a_repeated_ask_is_made_once(store: Store, acme: ApiClient, rival: ApiClient) -> None:
    first = ask_run(acme, key="k")
    assert ask_run(acme, key="k")["dispatch"] == first["dispatch"]
    other = acme.http.post(
        "/v1/asks", json={"question": "Other?", "variants": ["A"], "sample": 1}, headers={"Idempotency-Key": "k"}
    )
    assert (other.status_code, other.json()["error_kind"]) == (409, "conflict")
    assert (counts(store)["ask"], counts(store)["participant"]) == (1, 4)
    ask_run(rival, key="k")
    assert counts(store)["ask"] == 2


def test_a_repeated_round_is_asked_once(store: Store, acme: ApiClient) -> None:
    ask = ask_run(acme, key="k")["dispatch"]["ask_id"]

    def again(_: int) -> httpx.Response:
        return acme.http.post(f"/v1/asks/{ask}/rounds", headers={"Idempotency-Key": "k"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(again, range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert {str(answer.json()["dispatch"]) for answer in answers} == {str(answers[0].json()["dispatch"])}
    assert counts(store)["round"] == 2


# -- waiting -----------------------------------------------------------------------------------------------


def test_a_wait_for_an_ask_returns_all_its_participants(store: Store, acme: ApiClient) -> None:
    ask = ask_run(acme, sample=2, status=202, wait=True, timeout=0.05)
    assert (ask["ok"], ask["error_kind"], ask["progress"]) == (False, "wait_timeout", {"done": 0, "total": 2})
    for id_ in ask["dispatch"]["participant_ids"]:
        reply(store, id_, "B")
    told = acme.post("/v1/simulations/wait", ask["next_action"]["arguments"])
    assert (told.status_code, told.json()["ok"]) == (200, True)
    # In an ask an answer is the end, and no outcome.
    assert {(one["status"], one["outcome"]) for one in told.json()["participants"]} == {("completed", None)}


def test_the_next_action_for_many_participants_names_the_ask(store: Store, acme: ApiClient) -> None:
    panel = generate_people(101, 2)
    store.write(lambda connection: people.insert_people(connection, acme.workspace_id, panel))
    told = ask_run(acme, sample=101)
    action = told["next_action"]
    assert (action["tool"], action["arguments"]["view"]) == ("ask_get", "summary")
    method, path = action["rest"].split(" ")
    found = acme.http.request(method, path).json()
    assert (found["ask_id"], found["rounds"][0]["pending_count"]) == (told["dispatch"]["ask_id"], 101)


# -- results ------------------------------------------------------------------------------------------------


def test_a_round_counts_its_picks_and_names_the_winner(store: Store, acme: ApiClient) -> None:
    dispatched = ask_run(acme)["dispatch"]
    ask = dispatched["ask_id"]
    one, two, three, four = dispatched["participant_ids"]
    empty = summary_of(acme, ask)["rounds"][0]
    assert [empty[name] for name in ("winner", "tie", "partial", "answered_count")] == [None, [], True, 0]
    assert [variant["mean_rating"] for variant in empty["variants"]] == [None] * 3
    reply(store, one, "B", {"A": 2, "B": 5})
    reply(store, two, "A", {"A": 5, "B": 4, "C": 1})
    assert summary_of(acme, ask)["rounds"][0]["tie"] == ["A", "B"]
    reply(store, three, "B", {"B": 3})
    reply(store, four, None, {"A": 1, "B": 1, "C": 1})
    (told,) = summary_of(acme, ask)["rounds"]
    assert (told["winner"], told["tie"], told["no_pick_count"]) == ("B", [], 1)
    assert (told["people_count"], told["answered_count"], told["completed_count"]) == (4, 4, 4)
    assert not told["partial"]
    figures = {
        variant["label"]: (variant["picks"], variant["rating_count"], variant["mean_rating"])
        for variant in told["variants"]
    }
    assert figures == {"A": (1, 3, 2.67), "B": (2, 4, 3.25), "C": (0, 2, 1.0)}
    (answer,) = next(answers for answers in answers_of(acme, ask) if answers[0]["participant_id"] == two)
    assert [answer[name] for name in ("pick", "ratings", "comment")] == ["A", {"A": 5, "B": 4, "C": 1}, "I say A."]


def test_failed_participants_are_listed_and_cancelled_ones_counted(store: Store, acme: ApiClient) -> None:
    dispatched = ask_run(acme)["dispatch"]
    one, two, three, _ = dispatched["participant_ids"]
    run_to_end(store, UUID(one), 1, "failed")
    run_to_end(store, UUID(two), 1, "cancelled")
    # At its cap with an answer that was not taken: none.
    held = run_steps(store, UUID(three), 1)
    bad = {"kind": "answer", "value": {"pick": "Z", "ratings": {"A": 99}, "comment": "?"}}
    commit(store, held, 1, action=bad)
    end(store, held, "completed")
    (told,) = summary_of(acme, dispatched["ask_id"])["rounds"]
    statuses = ("pending", "running", "completed", "failed", "cancelled")
    assert [told[f"{status}_count"] for status in statuses] == [1, 0, 1, 1, 1]
    assert (told["answered_count"], told["errored_count"]) == (0, 1)
    (errored,) = told["errored"]
    assert (errored["participant_id"], errored["error_kind"]) == (one, "environment_error")
    rows = {answers[0]["participant_id"]: answers[0] for answers in answers_of(acme, dispatched["ask_id"])}
    assert rows[one]["error_kind"] == "environment_error"
    assert {(row["answered"], row["pick"], row["ratings"]) for row in rows.values()} == {(False, None, None)}


def test_rounds_are_compared_with_the_one_before(store: Store, acme: ApiClient) -> None:
    first = ask_run(acme)["dispatch"]
    second = ask_round(acme, first["ask_id"], variants=[MUGS[0], "A louder mug!"], question="And now?")
    person_of = {id_: participant(store, UUID(id_))["person_id"] for id_ in first["participant_ids"]}
    picks = dict(zip(person_of.values(), [("A", "B"), ("A", "B"), ("C", "A"), ("A", "A")], strict=True))
    for round_, dispatched in enumerate((first, second["dispatch"])):
        for id_ in dispatched["participant_ids"]:
            pick = picks[participant(store, UUID(id_))["person_id"]][round_]
            reply(store, id_, pick, {"A": 3 + round_, "B": 2})
    (change,) = summary_of(acme, first["ask_id"])["changes"]
    assert (change["from_round"], change["to_round"], change["question_changed"]) == (1, 2, True)
    counts_ = [change[f"{name}_count"] for name in ("answered_both", "same_pick", "changed_pick")]
    assert counts_ == [4, 1, 3]
    assert change["moves"] == [
        {"from_pick": "A", "to_pick": "B", "count": 2},
        {"from_pick": "C", "to_pick": "A", "count": 1},
    ]
    assert change["variants"] == [
        {"label": "A", "text_changed": False, "picks_delta": -1, "mean_rating_delta": 1.0},
        {"label": "B", "text_changed": True, "picks_delta": 2, "mean_rating_delta": 0.0},
    ]
    by_person = {UUID(id_): one["changes"] for id_, one in people_of(acme, first["ask_id"]).items()}
    assert by_person == {
        person: [{"from_round": 1, "to_round": 2, "from_pick": was, "to_pick": now}] if was != now else []
        for person, (was, now) in picks.items()
    }


def test_only_the_newest_answer_of_a_person_counts(store: Store, acme: ApiClient) -> None:
    dispatched = ask_run(acme, sample=1)["dispatch"]
    ask, (source,) = dispatched["ask_id"], dispatched["participant_ids"]
    reply(store, source, "A", {"A": 1})

    def standing() -> tuple[int, int, str | None]:
        (told,) = summary_of(acme, ask)["rounds"]
        return told["participant_count"], told["answered_count"], told["winner"]

    children = []
    for _ in range(3):
        dispatch = acme.post("/v1/simulations/extend", {"participant_id": source}).json()["dispatch"]
        children += dispatch["participant_ids"]
    # While none of them has answered, the old answer stands; so it does beside one that failed.
    run_to_end(store, UUID(children[0]), 1, "failed")
    assert standing() == (4, 1, "A")
    assert summary_of(acme, ask)["rounds"][0]["errored"] == []
    # By when they answered, not by when they were made.
    reply(store, children[2], "C")
    assert standing() == (4, 1, "C")
    reply(store, children[1], "B")
    assert standing() == (4, 1, "B")
    assert [[answer["participant_id"] for answer in answers] for answers in answers_of(acme, ask)] == [[children[1]]]


@pytest.mark.parametrize(("view", "max_length"), [("per_participant", 101), ("full", 3_000)])
def test_people_come_in_pages_and_only_the_full_view_has_whole_texts(
    acme: ApiClient, view: str, max_length: int
) -> None:
    text = "Long. " * 500
    ask = ask_run(acme, variants=[text])["dispatch"]["ask_id"]
    first = acme.get(f"/v1/asks/{ask}", view=view, limit=2).json()
    second = acme.get(f"/v1/asks/{ask}", view=view, limit=2, cursor=first["next_cursor"]).json()
    names = {one["person_name"] for page in (first, second) for one in page["people"]}
    assert (len(names), second["next_cursor"]) == (4, None)
    shown = first["rounds"][0]["variants"][0]["text"]
    assert len(shown) <= max_length
    assert (shown == text) == (view == "full")


def test_asks_are_listed(acme: ApiClient) -> None:
    made = [ask_run(acme, sample=1, question=f"Which, {number}?")["dispatch"]["ask_id"] for number in range(3)]
    ask_round(acme, made[0])
    first = acme.get("/v1/asks", limit=2).json()
    rest = acme.get("/v1/asks", limit=2, cursor=first["next_cursor"]).json()
    listed = [*first["items"], *rest["items"]]
    assert [(one["id"], one["question"]) for one in listed] == [
        (id_, f"Which, {number}?") for number, id_ in enumerate(made)
    ]
    assert [one["round_count"] for one in listed] == [2, 1, 1]
    assert summary_of(acme, listed[0]["alias"])["ask_id"] == made[0]


# -- its participants --------------------------------------------------------------------------------------


def test_the_transcript_contains_the_question_and_the_answer(store: Store, acme: ApiClient) -> None:
    (id_,) = ask_run(acme, sample=1)["dispatch"]["participant_ids"]
    reply(store, id_, "B", {"A": 2, "B": 4})
    items = acme.get(f"/v1/participants/{id_}/transcript").json()["items"]
    assert (items[0]["role"], items[0]["content"]) == ("system", "Which one would you buy?")
    assert "answer · B · pick: B; ratings: A 2, B 4; comment: I say B." in items[-1]["content"]
    last = acme.get(f"/v1/participants/{id_}/interactions").json()["items"][-1]
    assert last["action"]["value"] == {"pick": "B", "ratings": {"A": 2, "B": 4}, "comment": "I say B."}
