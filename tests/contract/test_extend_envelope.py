"""simulation_extend over HTTP: what it answers, what it makes, how the lineage reads. Contract section 4."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from tests.contract.manual_worker import dump_tables, make_run, participant, run_steps, run_to_end
from tests.contract.paging import pages
from tests.factories import make_ask
from tests.http_client import ApiClient
from tests.parameters import one_store
from tests.servers import wait_until
from understudy.domain.lifecycle import Status
from understudy.queue.notifications import Notifier
from understudy.settings import Settings
from understudy.store.engine import Store

EXTEND = "/v1/simulations/extend"
GERMAN = "Stop browsing - switch to the German picker."
FRENCH = "Now French."


def make_pending(store: Store, caller: ApiClient, status: Status = Status.PENDING) -> UUID:
    """A participant that may take 20 interactions."""
    _, (id_,) = make_run(store, caller, max_interactions=20, status=status)
    return id_


def make_ended(store: Store, caller: ApiClient, steps: int = 3, status: str = "completed") -> UUID:
    """A terminal participant, stopped at `steps` of 20."""
    id_ = make_pending(store, caller)
    run_to_end(store, id_, steps, status)
    return id_


def extend(caller: ApiClient, source: object, **options: Any) -> dict[str, Any]:
    """The answer to an extend that is dispatched."""
    answer = caller.post(EXTEND, {"participant_id": str(source), **options})
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    assert body["ok"] is True
    return body


def child_of(caller: ApiClient, source: object, **options: Any) -> dict[str, Any]:
    """The new participant of an extend, as it reads."""
    (id_,) = extend(caller, source, **options)["dispatch"]["participant_ids"]
    return caller.get(f"/v1/participants/{id_}").json()


def transcript(caller: ApiClient, id_: object) -> list[tuple[str, int | None]]:
    """Roles with their indexes; for what a user said, the text."""
    items = caller.get(f"/v1/participants/{id_}/transcript").json()["items"]
    return [(item["content"] if item["role"] == "user" else item["role"], item.get("index")) for item in items]


def test_the_answer_has_the_documented_shape(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme)
    row = participant(store, source)
    body = extend(acme, source)
    (new,) = body["dispatch"]["participant_ids"]
    alias = participant(store, UUID(new))["alias"]
    assert body["next_action"].pop("why")
    assert body == {
        "ok": True,
        "dispatch": {
            "participant_ids": [new],
            "aliases": [alias],
            "study_id": str(row["study_id"]),
            "iteration_id": str(row["iteration_id"]),
            "extended_from": str(source),
            "inherited_interactions": 3,
            "max_interactions": 30,
        },
        "participants": [
            {"participant_id": new, "status": "pending", "outcome": None, "interaction_count": 3, "error_kind": None}
        ],
        "next_action": {
            "tool": "simulation_wait",
            "arguments": {"participant_ids": [new], "timeout": 600.0},
            "rest": "POST /v1/simulations/wait",
            "cli": f"understudy wait {alias} --timeout 600",
            "poll_after_seconds": 5,
        },
    }


def test_a_participants_own_endpoint_does_the_same_and_needs_no_body(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme)
    alias = participant(store, source)["alias"]
    requests = ((source, None), (alias, {}), (f"p{alias}", {"additional_steps": 10}))
    answers = [acme.post(f"/v1/participants/{ref}/extend", body) for ref, body in requests]
    seen = [(answer.status_code, answer.json()["dispatch"]["max_interactions"]) for answer in answers]
    assert seen == [(202, 30)] * 3


def test_the_child_reads_as_a_fresh_participant_that_inherits(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme, status="failed")
    was = acme.get(f"/v1/participants/{source}").json()
    child = child_of(acme, source, additional_steps=1)
    expected = {
        name: was[name]
        for name in ("person_id", "person_name", "study_id", "iteration_id", "ask_id", "round", "interaction_count")
    }
    expected |= {"status": "pending", "extended_from": str(source), "branched_at": 3, "max_interactions": 21}
    expected |= {"attempt": 0, "instruction": None, "outcome": None, "error_kind": None, "error_message": None}
    expected |= {"started_at": None, "finished_at": None, "stopped_at": None}
    assert {name: child[name] for name in expected} == expected
    assert participant(store, UUID(child["id"]))["seed"] == participant(store, source)["seed"]


def test_an_asks_participant_is_extended_within_its_ask_and_round(store: Store, acme: ApiClient) -> None:
    ask, (_, (source, _)) = make_ask(store, acme.workspace_id)
    run_to_end(store, source, 1)
    dispatch = extend(acme, source)["dispatch"]
    assert (dispatch["ask_id"], dispatch["round"]) == (str(ask), 2)
    assert not {"study_id", "iteration_id"} & set(dispatch)
    assert len(acme.get("/v1/participants", ask_id=str(ask)).json()["items"]) == 5
    cancelled = acme.post("/v1/simulations/cancel", {"ask_id": str(ask), "round": 2}).json()
    assert cancelled["summary"] == {"total": 3, "cancelled_count": 2, "skipped_count": 1}


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_every_terminal_source_can_be_extended_and_its_rows_stay_as_they_were(
    store: Store, acme: ApiClient, status: str
) -> None:
    source = make_ended(store, acme, status=status)
    names = ("participant", "interaction", "checkpoint", "event")
    before = [dump_tables(store)[name] for name in names]
    assert [len(rows) for rows in before] == [1, 3, 1, 6]
    child = child_of(acme, source, instruction=GERMAN)["id"]
    assert [[row for row in dump_tables(store)[name] if child not in row] for name in names] == before


def test_a_cancelled_source_can_be_extended_before_it_is_known_to_have_stopped(store: Store, acme: ApiClient) -> None:
    source = make_pending(store, acme)
    run_steps(store, source, 2)
    acme.post("/v1/simulations/cancel", {"participant_id": str(source)})
    assert participant(store, source)["stopped_at"] is None
    assert extend(acme, source)["dispatch"]["inherited_interactions"] == 2


@pytest.mark.parametrize("status", ["draft", "pending", "running"])
def test_a_source_that_is_not_terminal_is_refused_with_its_status(store: Store, acme: ApiClient, status: str) -> None:
    source = make_pending(store, acme, Status.DRAFT if status == "draft" else Status.PENDING)
    if status == "running":
        run_steps(store, source, 1)
    before = dump_tables(store)
    answer = acme.post(EXTEND, {"participant_id": str(source)})
    body = answer.json()
    assert (answer.status_code, body["error_kind"], "dispatch" in body) == (422, "validation_error", False)
    assert f"is {status}" in body["error"]
    assert dump_tables(store) == before


@one_store
def test_the_settings_bound_of_additional_steps_is_named_and_never_clamped(
    store: Store, acme: ApiClient, api_with: Callable[..., str]
) -> None:
    source = make_ended(store, acme)
    before = dump_tables(store)
    narrow = api_with(max_additional_steps=3)
    answer = acme.post(f"{narrow}{EXTEND}", {"participant_id": str(source), "additional_steps": 4})
    assert answer.status_code == 422
    assert "from 1 to 3" in answer.json()["error"]
    assert dump_tables(store) == before


def test_additional_steps_go_past_the_cap_and_count_over_the_lineage(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme, steps=3)
    child = child_of(acme, source, additional_steps=100)
    assert (child["max_interactions"], child["interaction_count"]) == (120, 3)
    run_to_end(store, UUID(child["id"]), 117)
    grandchild = child_of(acme, child["id"], additional_steps=5)
    assert (grandchild["max_interactions"], grandchild["branched_at"]) == (125, 120)


def test_a_source_without_interactions_starts_at_0(store: Store, acme: ApiClient) -> None:
    source = make_pending(store, acme)
    acme.post("/v1/simulations/cancel", {"participant_id": str(source)})
    dispatch = extend(acme, source, additional_steps=5, instruction=GERMAN)["dispatch"]
    assert (dispatch["inherited_interactions"], dispatch["max_interactions"]) == (0, 25)
    (child,) = dispatch["participant_ids"]
    assert acme.get(f"/v1/participants/{child}/interactions").json() == {"items": [], "next_cursor": None}
    run_steps(store, UUID(child), 1)
    assert transcript(acme, child) == [("system", None), (GERMAN, None), ("environment", 0), ("person", 0)]


def test_later_extends_inherit_the_instruction_unless_they_bring_their_own(store: Store, acme: ApiClient) -> None:
    effective: list[str] = []
    id_ = str(make_ended(store, acme))
    for given in (f" {GERMAN}\n", None, FRENCH, "  ", FRENCH):
        child = child_of(acme, id_, instruction=given)
        effective.append(child["instruction"])
        id_ = child["id"]
        run_to_end(store, UUID(id_), 1)
    assert effective == [GERMAN, GERMAN, FRENCH, FRENCH, FRENCH]
    # An inherited instruction is not repeated; one that is given again is.
    said = [text for text, index in transcript(acme, id_) if index is None]
    assert said == ["system", GERMAN, FRENCH, FRENCH]


def make_lineage(store: Store, caller: ApiClient) -> list[str]:
    """A source with three interactions, its child with an instruction and two, and that one's child with one."""
    source = make_ended(store, caller, steps=3, status="cancelled")
    child = child_of(caller, source, instruction=GERMAN)["id"]
    run_to_end(store, UUID(child), 2, "failed")
    grandchild = child_of(caller, child)["id"]
    run_steps(store, UUID(grandchild), 1)
    return [str(source), child, grandchild]


def test_interactions_read_over_the_whole_lineage_each_with_its_participant(store: Store, acme: ApiClient) -> None:
    source, child, grandchild = make_lineage(store, acme)
    expected = [*((index, source) for index in (0, 1, 2)), (3, child), (4, child), (5, grandchild)]

    def read(id_: str, **params: Any) -> list[list[tuple[int, str]]]:
        found = pages(acme, f"/v1/participants/{id_}/interactions", **params)
        return [[(item["index"], item["participant_id"]) for item in page] for page in found]

    assert read(grandchild) == [expected]
    assert read(child) == [expected[:5]]
    assert read(source) == [expected[:3]]
    assert read(grandchild, own="true") == [expected[5:]]
    assert read(child, own="true") == [expected[3:5]]
    assert read(child, own="true", limit=1) == [expected[3:4], expected[4:5]]
    assert read(child, own="false", limit=2) == [expected[:2], expected[2:4], expected[4:5]]
    assert read(grandchild, limit=4) == [expected[:4], expected[4:]]
    assert read(grandchild, limit=3) == [expected[:3], expected[3:]]


def test_the_transcript_has_the_instruction_right_after_the_branch_point(store: Store, acme: ApiClient) -> None:
    source, child, grandchild = make_lineage(store, acme)
    steps = [(role, index) for index in range(6) for role in ("environment", "person")]
    before = [("system", None), *steps[:6]]
    assert transcript(acme, source) == before
    assert transcript(acme, child) == [*before, (GERMAN, None), *steps[6:10]]
    assert transcript(acme, grandchild) == [*before, (GERMAN, None), *steps[6:]]
    waiting = child_of(acme, source, instruction=FRENCH)
    assert transcript(acme, waiting["id"]) == [*before, (FRENCH, None)]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_an_extend_that_waits_answers_200_however_the_child_ends(
    store: Store, acme: ApiClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    # Only a notification can end this wait in time.
    monkeypatch.setattr("understudy.service.waiters.POLL_INTERVAL_S", 20)
    source = make_ended(store, acme)
    notifier = Notifier(settings.notifications_url)

    def child() -> UUID | None:
        listed = acme.get("/v1/participants").json()["items"]
        return next((UUID(one["id"]) for one in listed if one["extended_from"]), None)

    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(acme.post, EXTEND, {"participant_id": str(source), "wait": True, "timeout": 15})
        id_ = wait_until(child)
        run_to_end(store, id_, 1, status)
        notifier.enqueue([id_])
        answer = answering.result()
    notifier.close()
    assert (answer.status_code, answer.json()["ok"]) == (200, True)
    assert [state["status"] for state in answer.json()["participants"]] == [status]
    assert "next_action" not in answer.json()
    assert answer.elapsed.total_seconds() < 10
