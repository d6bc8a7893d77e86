"""Journeys over HTTP: thoughts, sentiment curve, friction points and the end, over the lineage."""

from typing import Any
from uuid import UUID

from tests.contract.manual_worker import claim, commit, make_run, run_to_end
from tests.contract.test_extend_envelope import GERMAN, child_of, make_ended
from tests.http_client import ApiClient
from understudy.domain.lifecycle import Outcome
from understudy.store import lifecycle
from understudy.store.engine import Store


def led_to(url: str, **more: Any) -> dict[str, Any]:
    """An interaction whose result is this page."""
    return {"result": {"url": url, "title": url, "status": 200, "problem": ""} | more}


def journey_of(store: Store, caller: ApiClient, steps: list[dict[str, Any]], outcome: Outcome) -> dict[str, Any]:
    """The journey of a participant that completed with these interactions."""
    _, (id_,) = make_run(store, caller, max_interactions=50)
    held = claim(store, id_)
    for index, step in enumerate(steps):
        assert commit(store, held, index, **step)
    store.write(lambda connection: lifecycle.complete(connection, held, outcome, 1))
    return read_journey(caller, id_)


def read_journey(caller: ApiClient, id_: object) -> dict[str, Any]:
    journey: dict[str, Any] = caller.get(f"/v1/participants/{id_}/journey").json()
    assert journey["participant_id"] == str(id_)
    return journey


def friction(journey: dict[str, Any]) -> list[tuple[int, str]]:
    return [(point["index"], point["kind"]) for point in journey["friction_points"]]


def test_a_journey_has_its_friction_points_and_its_end(store: Store, acme: ApiClient) -> None:
    steps = [
        led_to("/shop") | {"sentiment": 0.4},
        led_to("/cart", status=404) | {"sentiment": 0.35},
        led_to("/shop") | {"sentiment": 0.3},
        led_to("/cart", problem="The form wants a name.") | {"sentiment": -0.2},
        led_to("/cart") | {"action": {"kind": "fill", "target": "Name", "value": "Ada"}, "sentiment": -0.3},
        led_to("/shop") | {"sentiment": -0.4},
        led_to("/shop") | {"action": {"kind": "give_up"}, "sentiment": -0.9, "thought": "Enough."},
    ]
    journey = journey_of(store, acme, steps, Outcome.GAVE_UP)
    assert (journey["status"], journey["outcome"]) == ("completed", "gave_up")
    assert journey["sentiment_curve"] == [step["sentiment"] for step in steps]
    points = [(1, "error_page"), (3, "problem"), (3, "mood_drop"), (5, "going_in_circles"), (6, "mood_drop")]
    assert friction(journey) == points
    expected = {"what": "The form wants a name.", "url": "page/3", "thought": "Thought 3"}
    assert journey["friction_points"][1].items() >= expected.items()
    assert journey["friction_points"][3]["what"] == "Visited for the 3rd time."
    assert journey["steps"][4]["did"] == "fill · Name · Ada"
    assert journey["gave_up_at"] == {"index": 6, "url": "page/6", "title": "Page 6", "thought": "Enough."}


def test_a_repeated_reply_is_friction_and_staying_in_one_chat_is_none(store: Store, acme: ApiClient) -> None:
    replies = ("What?", "Ah.", "What?", "")
    said = [led_to("https://bot", text=reply) | {"action": {"kind": "say", "value": "Hi"}} for reply in replies]
    journey = journey_of(store, acme, said, Outcome.CAP_REACHED)
    assert (friction(journey), journey["gave_up_at"]) == ([(2, "repeated_reply")], None)


def test_a_journey_covers_the_lineage(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme, steps=2)
    child = child_of(acme, source, instruction=GERMAN)["id"]
    assert len(read_journey(acme, child)["steps"]) == 2
    run_to_end(store, UUID(child), 1)
    journey = read_journey(acme, child)
    assert [step["participant_id"] for step in journey["steps"]] == [str(source), str(source), child]
    assert journey["told"] == [{"before_index": 2, "instruction": GERMAN}]
    assert journey["sentiment_curve"] == [0.5, 0.5, 0.5]
    assert journey["gave_up_at"]["index"] == 2


def test_a_journey_without_steps_is_empty(store: Store, acme: ApiClient) -> None:
    journey = read_journey(acme, make_ended(store, acme, steps=0))
    assert [journey[name] for name in ("steps", "sentiment_curve", "friction_points")] == [[], [], []]
    assert journey["gave_up_at"] is None
