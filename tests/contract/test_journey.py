"""Where a journey was hard: thoughts, feelings, friction, and the end. Over the lineage."""

from typing import Any
from uuid import UUID

from tests.contract.manual_worker import claim, commit, run_to_end
from tests.contract.test_extend_envelope import GERMAN, child_of, make_ended
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from understudy.domain.lifecycle import Outcome
from understudy.store import lifecycle
from understudy.store.engine import Store


def led(url: str, **more: Any) -> dict[str, Any]:
    return {"result": {"url": url, "title": url, "status": 200, "problem": ""} | more}


def given_up(store: Store, caller: ApiClient, steps: list[dict[str, Any]], outcome: Outcome) -> UUID:
    """A participant that took these steps and came to this end."""
    study_id, (iteration_id,) = make_study(store, caller.workspace_id)
    (id_,) = make_participants(store, caller.workspace_id, study_id, iteration_id, count=1, max_interactions=50)
    held = claim(store, id_)
    for index, step in enumerate(steps):
        assert commit(store, held, index, **step)
    store.write(lambda connection: lifecycle.complete(connection, held, outcome, 1))
    return id_


def test_a_journey_tells_where_it_was_hard_and_where_it_ended(store: Store, acme: ApiClient) -> None:
    steps = [
        led("/shop") | {"sentiment": 0.4},
        led("/cart", status=404) | {"sentiment": 0.35},
        led("/shop") | {"sentiment": 0.3},
        led("/cart", problem="The form wants a name.") | {"sentiment": -0.2},
        led("/cart") | {"action": {"kind": "fill", "target": "Name", "value": "Ada"}, "sentiment": -0.3},
        led("/shop") | {"sentiment": -0.4},
        led("/shop") | {"action": {"kind": "give_up"}, "sentiment": -0.9, "thought": "Enough."},
    ]
    id_ = given_up(store, acme, steps, Outcome.GAVE_UP)
    journey = acme.get(f"/v1/participants/{id_}/journey").json()
    assert (journey["participant_id"], journey["status"], journey["outcome"]) == (
        str(id_),
        "completed",
        "gave_up",
    )
    assert journey["sentiment_curve"] == [0.4, 0.35, 0.3, -0.2, -0.3, -0.4, -0.9]
    assert [(point["index"], point["kind"]) for point in journey["friction_points"]] == [
        (1, "error_page"),
        (3, "problem"),
        (3, "mood_drop"),
        (5, "going_in_circles"),
        (6, "mood_drop"),
    ]
    wrong = journey["friction_points"][1]
    assert (wrong["what"], wrong["url"], wrong["thought"]) == (
        "The form wants a name.",
        "page/3",
        "Thought 3",
    )
    assert journey["friction_points"][3]["what"] == "Visited for the 3rd time."
    assert journey["steps"][4]["did"] == "fill · Name · Ada"
    assert journey["gave_up_at"] == {"index": 6, "url": "page/6", "title": "Page 6", "thought": "Enough."}


def test_a_bot_that_repeats_itself_is_friction_and_being_in_one_chat_is_none(store: Store, acme: ApiClient) -> None:
    def said(reply: str) -> dict[str, Any]:
        return led("https://bot", text=reply) | {"action": {"kind": "say", "value": "Hi"}}

    steps = [said("What?"), said("Ah."), said("What?"), said("")]
    id_ = given_up(store, acme, steps, Outcome.CAP_REACHED)
    journey = acme.get(f"/v1/participants/{id_}/journey").json()
    assert [(point["index"], point["kind"]) for point in journey["friction_points"]] == [(2, "repeated_reply")]
    assert journey["gave_up_at"] is None


def test_a_journey_goes_over_the_lineage_and_one_without_steps_is_empty(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme, steps=2)
    child = child_of(acme, source, instruction=GERMAN)
    before = acme.get(f"/v1/participants/{child['id']}/journey").json()
    assert len(before["steps"]) == 2
    run_to_end(store, UUID(child["id"]), 1)
    journey = acme.get(f"/v1/participants/{child['id']}/journey").json()
    assert [step["participant_id"] for step in journey["steps"]] == [str(source), str(source), child["id"]]
    assert journey["told"] == [{"before_index": 2, "instruction": GERMAN}]
    assert journey["sentiment_curve"] == [0.5, 0.5, 0.5]
    assert journey["gave_up_at"]["index"] == 2
    none = acme.get(f"/v1/participants/{make_ended(store, acme, steps=0)}/journey").json()
    assert (none["steps"], none["sentiment_curve"], none["friction_points"]) == ([], [], [])
    assert none["gave_up_at"] is None
