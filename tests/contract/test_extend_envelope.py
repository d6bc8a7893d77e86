"""simulation_extend over HTTP: what it answers, what it makes, how the lineage reads. Contract section 4."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from tests.contract.manual_worker import dump_idle_tables, dump_tables, participant, run_steps, run_to_end
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import wait_until
from understudy.domain.lifecycle import Status
from understudy.queue.notifications import Notifier
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.store.schema import Tables

EXTEND = "/v1/simulations/extend"
GERMAN = "Stop browsing - switch to the German picker."


def make_pending(store: Store, caller: ApiClient, count: int = 1, **more: Any) -> list[UUID]:
    study, (iteration,) = make_study(store, caller.workspace_id)
    return make_participants(store, caller.workspace_id, study, iteration, count, **({"max_interactions": 20} | more))


def make_ended(store: Store, caller: ApiClient, steps: int = 3, status: str = "completed") -> UUID:
    """A terminal participant, stopped at `steps` of 20."""
    (id_,) = make_pending(store, caller)
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
    read: dict[str, Any] = caller.get(f"/v1/participants/{id_}").json()
    return read


def transcript(caller: ApiClient, id_: object) -> list[tuple[str, int | None]]:
    """Roles with their indexes; for what a user said, the text."""
    items = caller.get(f"/v1/participants/{id_}/transcript").json()["items"]
    return [(item["content"] if item["role"] == "user" else item["role"], item.get("index")) for item in items]


# -- the answer --------------------------------------------------------------------------------------------


def test_the_answer_has_the_documented_shape(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme)
    row = participant(store, source)
    answer = acme.post(EXTEND, {"participant_id": str(source)})
    assert answer.status_code == 202
    body = answer.json()
    (new,) = body["dispatch"]["participant_ids"]
    alias = participant(store, UUID(new))["alias"]
    why = body["next_action"].pop("why")
    assert why
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
            {
                "participant_id": new,
                "status": "pending",
                "outcome": None,
                "interaction_count": 3,
                "error_kind": None,
            }
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
    for path, body in ((source, None), (alias, {}), (f"p{alias}", {"additional_steps": 10})):
        answer = acme.post(f"/v1/participants/{path}/extend", body)
        assert (answer.status_code, answer.json()["dispatch"]["max_interactions"]) == (202, 30)
    assert acme.post(f"/v1/participants/{source}/extend", {"participant_id": alias}).status_code == 422


def test_the_new_participant_reads_as_a_fresh_one_that_inherits(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme, status="failed")
    was = acme.get(f"/v1/participants/{source}").json()
    child = child_of(acme, source, additional_steps=1)
    inherited = {
        "person_id",
        "person_name",
        "study_id",
        "iteration_id",
        "ask_id",
        "round",
        "interaction_count",
    }
    assert {name: child[name] for name in inherited} == {name: was[name] for name in inherited}
    expected = {"status": "pending", "extended_from": str(source), "branched_at": 3, "max_interactions": 21}
    assert {name: child[name] for name in expected} == expected
    fresh = (
        "outcome",
        "error_kind",
        "error_message",
        "started_at",
        "finished_at",
        "stopped_at",
        "instruction",
    )
    assert [child[name] for name in fresh] == [None] * len(fresh)
    assert child["attempt"] == 0
    assert participant(store, UUID(child["id"]))["seed"] == participant(store, source)["seed"]


def test_an_asks_participant_is_extended_within_its_ask_and_round(store: Store, acme: ApiClient) -> None:
    ask, (_, (source, _)) = make_ask(store, acme.workspace_id)
    run_to_end(store, source, 1)
    dispatch = extend(acme, source)["dispatch"]
    assert (dispatch["ask_id"], dispatch["round"]) == (str(ask), 2)
    assert not {"study_id", "iteration_id"} & set(dispatch)
    listed = acme.get("/v1/participants", ask_id=str(ask)).json()["items"]
    assert len(listed) == 5
    assert acme.post("/v1/simulations/cancel", {"ask_id": str(ask), "round": 2}).json()["summary"] == {
        "total": 3,
        "cancelled_count": 2,
        "skipped_count": 1,
    }


# -- what may be extended ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_every_terminal_source_can_be_extended_and_its_rows_stay_as_they_were(
    store: Store, acme: ApiClient, status: str
) -> None:
    source = make_ended(store, acme, status=status)

    def of_source() -> list[Any]:
        tables = (Tables.participant, Tables.interaction, Tables.checkpoint, Tables.event)
        with store.read() as connection:
            return [
                sorted(
                    repr(row)
                    for row in connection.execute(
                        select(table).where(table.c.get("participant_id", table.c.get("id")) == source)
                    )
                )
                for table in tables
            ]

    before = of_source()
    assert [len(rows) for rows in before] == [1, 3, 1, 6]
    child_of(acme, source, instruction=GERMAN)
    assert of_source() == before


def test_a_cancelled_source_can_be_extended_before_it_is_known_to_have_stopped(store: Store, acme: ApiClient) -> None:
    (source,) = make_pending(store, acme)
    run_steps(store, source, 2)
    acme.post("/v1/simulations/cancel", {"participant_id": str(source)})
    assert participant(store, source)["stopped_at"] is None
    assert extend(acme, source)["dispatch"]["inherited_interactions"] == 2


@pytest.mark.parametrize("status", ["draft", "pending", "running"])
def test_a_source_that_is_not_terminal_is_refused_with_its_status_and_nothing_is_made(
    store: Store, acme: ApiClient, status: str
) -> None:
    (source,) = make_pending(store, acme, status=Status.DRAFT if status == "draft" else Status.PENDING)
    if status == "running":
        run_steps(store, source, 1)
    before = dump_tables(store)
    answer = acme.post(EXTEND, {"participant_id": str(source)})
    assert answer.status_code == 422
    body = answer.json()
    assert (body["ok"], body["error_kind"], body["error_code"]) == (False, *["validation_error"] * 2)
    assert f"is {status}" in body["error"]
    assert "dispatch" not in body
    assert dump_tables(store) == before


def test_an_unknown_source_is_not_found(store: Store, acme: ApiClient) -> None:
    before = dump_tables(store)
    for unknown in (str(uuid4()), "t-abc"):
        for answer in (
            acme.post(EXTEND, {"participant_id": unknown}),
            acme.post(f"/v1/participants/{unknown}/extend"),
        ):
            assert (answer.status_code, answer.json()["error_kind"]) == (404, "not_found")
            assert (answer.json()["ok"], answer.json()["retryable"]) == (False, False)
    assert dump_tables(store) == before


# -- additional_steps --------------------------------------------------------------------------------------


def test_additional_steps_out_of_bounds_are_refused_naming_the_bound_never_clamped(
    store: Store, acme: ApiClient, api_with: Callable[..., str]
) -> None:
    source = make_ended(store, acme)
    before = dump_tables(store)
    for steps in (0, -1, 101, 2**63 - 1):
        answer = acme.post(EXTEND, {"participant_id": str(source), "additional_steps": steps})
        assert (answer.status_code, answer.json()["error_kind"]) == (422, "validation_error")
        assert "from 1 to 100" in answer.json()["error"], steps
    narrow = api_with(max_additional_steps=3)
    answer = acme.post(f"{narrow}{EXTEND}", {"participant_id": str(source), "additional_steps": 4})
    assert "from 1 to 3" in answer.json()["error"]
    assert dump_tables(store) == before


def test_additional_steps_are_allowed_past_the_cap_and_counted_over_the_lineage(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme, steps=3)
    for steps in (1, 10, 100):
        child = child_of(acme, source, additional_steps=steps)
        assert (child["max_interactions"], child["interaction_count"]) == (20 + steps, 3)
    run_to_end(store, UUID(child["id"]), 117, "completed")
    grandchild = child_of(acme, child["id"], additional_steps=5)
    assert (grandchild["max_interactions"], grandchild["branched_at"]) == (125, 120)


def test_a_source_without_interactions_starts_at_0(store: Store, acme: ApiClient) -> None:
    (source,) = make_pending(store, acme)
    acme.post("/v1/simulations/cancel", {"participant_id": str(source)})
    dispatch = extend(acme, source, additional_steps=5, instruction=GERMAN)["dispatch"]
    assert (dispatch["inherited_interactions"], dispatch["max_interactions"]) == (0, 25)
    (child,) = dispatch["participant_ids"]
    assert acme.get(f"/v1/participants/{child}/interactions").json() == {"items": [], "next_cursor": None}
    run_steps(store, UUID(child), 1)
    assert transcript(acme, child) == [("system", None), (GERMAN, None), ("environment", 0), ("person", 0)]


# -- instruction -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_an_instruction_is_trimmed_blank_is_none_and_4000_characters_are_the_most(
    store: Store, acme: ApiClient
) -> None:
    source = make_ended(store, acme)
    longest = "ü" * 4_000
    for given, kept in (
        (f"  {GERMAN}\n", GERMAN),
        ("", None),
        (" \t\n\u2003", None),
        (None, None),
        (f" {longest} ", longest),
    ):
        assert child_of(acme, source, instruction=given)["instruction"] == kept
    before = dump_idle_tables(store)
    answer = acme.post(EXTEND, {"participant_id": str(source), "instruction": longest + "u"})
    assert (answer.status_code, answer.json()["error_kind"]) == (422, "validation_error")
    assert "4,000" in answer.json()["error"]
    assert dump_tables(store) == before


def test_later_extends_inherit_the_instruction_unless_they_bring_their_own(store: Store, acme: ApiClient) -> None:
    id_: object = make_ended(store, acme)
    for given, effective in (
        (GERMAN, GERMAN),
        (None, GERMAN),
        ("Now French.", "Now French."),
        ("  ", "Now French."),
    ):
        child = child_of(acme, id_, instruction=given)
        assert child["instruction"] == effective
        run_to_end(store, UUID(child["id"]), 1)
        id_ = child["id"]
    said = [what for what, index in transcript(acme, id_) if index is None]
    assert said == ["system", GERMAN, "Now French."]


# -- lineage -----------------------------------------------------------------------------------------------


def make_lineage(store: Store, caller: ApiClient) -> list[str]:
    """Three steps, then two of a child told to go German, then one of its child."""
    source = make_ended(store, caller, steps=3, status="cancelled")
    child = child_of(caller, source, instruction=GERMAN)["id"]
    run_to_end(store, UUID(child), 2, "failed")
    grandchild = child_of(caller, child)["id"]
    run_steps(store, UUID(grandchild), 1)
    return [str(source), child, grandchild]


def test_interactions_read_over_the_whole_lineage_each_naming_whose_it_is(store: Store, acme: ApiClient) -> None:
    source, child, grandchild = make_lineage(store, acme)
    expected = [*((index, source) for index in (0, 1, 2)), (3, child), (4, child), (5, grandchild)]

    def read(id_: str, **params: Any) -> list[tuple[int, str]]:
        items = acme.get(f"/v1/participants/{id_}/interactions", **params).json()["items"]
        return [(item["index"], item["participant_id"]) for item in items]

    assert read(grandchild) == expected
    assert read(child) == expected[:5]
    assert read(source) == expected[:3]
    assert read(grandchild, own="true") == expected[5:]
    assert read(child, own="true") == expected[3:5]
    assert read(child, own="false", limit=2) == expected[:2]


def test_interactions_are_paged_without_gap_or_double(store: Store, acme: ApiClient) -> None:
    *_, child, grandchild = make_lineage(store, acme)
    for own, id_, expected in (("false", grandchild, [0, 1, 2, 3, 4, 5]), ("true", child, [3, 4])):
        for limit in (1, 2, 4, 6):
            seen: list[int] = []
            cursor: dict[str, str] = {}
            while True:
                page = acme.get(f"/v1/participants/{id_}/interactions", own=own, limit=limit, **cursor).json()
                assert len(page["items"]) <= limit
                seen += [item["index"] for item in page["items"]]
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert seen == expected


def test_the_transcript_has_the_instruction_right_after_the_branch_point(store: Store, acme: ApiClient) -> None:
    source, child, grandchild = make_lineage(store, acme)
    seen = [[("environment", index), ("person", index)] for index in range(6)]
    before = [("system", None), *seen[0], *seen[1], *seen[2]]
    assert transcript(acme, source) == before
    assert transcript(acme, child) == [*before, (GERMAN, None), *seen[3], *seen[4]]
    assert transcript(acme, grandchild) == [*before, (GERMAN, None), *seen[3], *seen[4], *seen[5]]
    waiting = child_of(acme, source, instruction="Now French.")
    assert transcript(acme, waiting["id"]) == [*before, ("Now French.", None)]


def test_an_instruction_given_again_is_told_again(store: Store, acme: ApiClient) -> None:
    first = child_of(acme, make_ended(store, acme, steps=1), instruction=GERMAN)["id"]
    run_to_end(store, UUID(first), 1)
    again = child_of(acme, first, instruction=GERMAN)["id"]
    assert [what for what, index in transcript(acme, again) if index is None] == ["system", GERMAN, GERMAN]


def test_siblings_made_at_once_are_independent(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme)
    with ThreadPoolExecutor(4) as pool:
        children = list(pool.map(lambda n: child_of(acme, source, additional_steps=n + 1), range(4)))
    assert len({child["id"] for child in children}) == len({child["alias"] for child in children}) == 4
    assert sorted(child["max_interactions"] for child in children) == [21, 22, 23, 24]
    run_steps(store, UUID(children[0]["id"]), 2)
    assert participant(store, UUID(children[1]["id"]))["interaction_count"] == 3


# -- waiting -----------------------------------------------------------------------------------------------


def test_a_wait_that_runs_out_tells_what_was_dispatched_and_how_to_wait_on(store: Store, acme: ApiClient) -> None:
    source = make_ended(store, acme)
    answer = acme.post(EXTEND, {"participant_id": str(source), "wait": True, "timeout": 0.05})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["ok"], body["error_kind"], body["retryable"]) == (False, "wait_timeout", False)
    assert body["progress"] == {"done": 0, "total": 1}
    assert body["dispatch"]["extended_from"] == str(source)
    assert body["next_action"]["arguments"]["participant_ids"] == body["dispatch"]["participant_ids"]
    assert participant(store, UUID(body["dispatch"]["participant_ids"][0]))["status"] == Status.PENDING


def test_an_extend_that_is_waited_for_answers_200_with_the_childs_end_whatever_it_is(
    store: Store, acme: ApiClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a notice can end these waits in time.
    monkeypatch.setattr("understudy.service.waiters.POLL_INTERVAL_S", 20)
    source = make_ended(store, acme)
    notifier = Notifier(settings.notifications_url)
    with ThreadPoolExecutor(1) as pool:
        for status in ("completed", "failed", "cancelled"):
            body = {"participant_id": str(source), "wait": True, "timeout": 15}
            known = {one["id"] for one in acme.get("/v1/participants").json()["items"]}
            answering = pool.submit(acme.post, EXTEND, body)
            child = new_participant(acme, known)
            run_to_end(store, UUID(child), 1, status)
            notifier.enqueue([UUID(child)])
            answer = answering.result()
            assert (answer.status_code, answer.json()["ok"]) == (200, True)
            assert [state["status"] for state in answer.json()["participants"]] == [status]
            assert "next_action" not in answer.json()
            assert answer.elapsed.total_seconds() < 10
    notifier.close()


def new_participant(caller: ApiClient, known: set[str]) -> str:
    def look() -> str | None:
        listed = caller.get("/v1/participants").json()["items"]
        return next((one["id"] for one in listed if one["id"] not in known), None)

    return str(wait_until(look))
