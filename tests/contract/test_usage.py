"""What asking language models took, as callers see it: per interaction, participant, study and ask."""

from typing import Any
from uuid import UUID

from sqlalchemy import update

from tests.factories import make_ask, make_lease, make_participants, make_study
from tests.http_client import ApiClient
from tests.integration.test_store_lifecycle import make_step
from understudy.domain.lifecycle import FailureKind
from understudy.domain.simulation import Usage
from understudy.store import lifecycle
from understudy.store.engine import Store, store_clock
from understudy.store.guards import Claim
from understudy.store.schema import Tables

_usage = Tables.usage

ASKED = Usage(calls=2, input_tokens=1_000, output_tokens=100, seconds=1.5, cost=0.25, model="m")
FIGURES = {"calls": 2, "input_tokens": 1_000, "output_tokens": 100, "seconds": 1.5, "cost": 0.25}


def claimed(store: Store, participant: UUID) -> Claim:
    lease = make_lease(store)
    row = store.write(lambda connection: lifecycle.claim(connection, participant, lease))
    assert row is not None
    return Claim(row.id, row.epoch)


def walk(store: Store, claim: Claim, *used: Usage | None, start: int = 0) -> None:
    for index, usage in enumerate(used, start):
        step = make_step(index, usage=usage)
        assert store.write(lambda connection, step=step: lifecycle.commit_step(connection, claim, step, 0))


def fail(store: Store, claim: Claim, used: Usage | None) -> None:
    kind = FailureKind.SIMULATOR_ERROR
    assert store.write(lambda connection: lifecycle.fail(connection, claim, kind, "No.", 0, used))


def get(acme: ApiClient, path: str, **query: Any) -> Any:
    answer = acme.get(path, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_interaction_tells_what_it_took_and_sums_are_right(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    one, other, silent = make_participants(store, acme.workspace_id, study, iteration, 3)
    walk(store, claimed(store, one), ASKED, None, ASKED)
    walk(store, claimed(store, other), ASKED)
    walk(store, claimed(store, silent), None)

    steps = get(acme, f"/v1/participants/{one}/interactions")["items"]
    assert [step.get("usage") for step in steps] == [FIGURES | {"model": "m"}, None, FIGURES | {"model": "m"}]
    twice = {"calls": 4, "input_tokens": 2_000, "output_tokens": 200, "seconds": 3.0, "cost": 0.5}
    assert get(acme, f"/v1/participants/{one}")["usage"] == twice
    assert "usage" not in get(acme, f"/v1/participants/{silent}")
    listed = {row["id"]: row.get("usage") for row in get(acme, "/v1/participants", study_id=str(study))["items"]}
    assert listed == {str(one): twice, str(other): FIGURES, str(silent): None}
    for view in ("summary", "per_participant", "transcripts"):
        total = get(acme, f"/v1/studies/{study}", view=view)["usage"]
        assert total == {
            "calls": 6,
            "input_tokens": 3_000,
            "output_tokens": 300,
            "seconds": 4.5,
            "cost": 0.75,
        }
        # Nobody else in the workspace asked a model.
        assert get(acme, f"/v1/studies/{study}", view=view)["workspace_usage_today"] == total
    rows = get(acme, f"/v1/studies/{study}", view="per_participant")["participants"]
    assert {row["id"]: row.get("usage") for row in rows} == listed


def test_what_led_to_a_failure_counts_too(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (one,) = make_participants(store, acme.workspace_id, study, iteration)
    claim = claimed(store, one)
    walk(store, claim, ASKED)
    fail(store, claim, ASKED)
    assert get(acme, f"/v1/participants/{one}")["usage"]["calls"] == 4
    assert len(get(acme, f"/v1/participants/{one}/interactions")["items"]) == 1


def test_who_lost_its_claim_counts_nothing(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (one,) = make_participants(store, acme.workspace_id, study, iteration)
    claim = claimed(store, one)
    store.write(lambda connection: lifecycle.cancel(connection, acme.workspace_id, [one]))
    step = make_step(0, usage=ASKED)
    assert not store.write(lambda connection: lifecycle.commit_step(connection, claim, step, 0))
    kind = FailureKind.SIMULATOR_ERROR
    assert not store.write(lambda connection: lifecycle.fail(connection, claim, kind, "No.", 0, ASKED))
    assert "usage" not in get(acme, f"/v1/studies/{study}")


def test_an_extended_one_counts_only_what_it_took_itself(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (one,) = make_participants(store, acme.workspace_id, study, iteration)
    walk(store, claimed(store, one), ASKED)
    store.write(lambda connection: lifecycle.cancel(connection, acme.workspace_id, [one]))
    extended = acme.post("/v1/simulations/extend", {"participant_id": str(one)}).json()
    child = UUID(extended["dispatch"]["participant_ids"][0])
    walk(store, claimed(store, child), ASKED, ASKED, start=1)
    assert get(acme, f"/v1/participants/{child}")["usage"]["calls"] == 4
    steps = get(acme, f"/v1/participants/{child}/interactions")["items"]
    assert [step["usage"]["calls"] for step in steps] == [2, 2, 2]
    assert get(acme, f"/v1/studies/{study}")["usage"]["calls"] == 6


def test_a_sum_of_which_a_part_has_no_price_has_none(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (one,) = make_participants(store, acme.workspace_id, study, iteration)
    free = Usage(calls=1, input_tokens=10, output_tokens=1, seconds=0.5, cost=None, model="local")
    walk(store, claimed(store, one), ASKED, free)
    total = get(acme, f"/v1/studies/{study}")["usage"]
    assert total == {"calls": 3, "input_tokens": 1_010, "output_tokens": 101, "seconds": 2.0}


def test_an_ask_is_summed_as_a_study_is(store: Store, acme: ApiClient) -> None:
    ask, ((one, _), _) = make_ask(store, acme.workspace_id)
    walk(store, claimed(store, one), ASKED)
    assert get(acme, f"/v1/asks/{ask}")["usage"] == FIGURES
    other, _ = make_ask(store, acme.workspace_id)
    assert "usage" not in get(acme, f"/v1/asks/{other}")


def test_a_workspace_is_summed_for_today(store: Store, acme: ApiClient, rival: ApiClient) -> None:
    studies = []
    for caller in (acme, acme, rival):
        study, (iteration,) = make_study(store, caller.workspace_id)
        (one,) = make_participants(store, caller.workspace_id, study, iteration)
        walk(store, claimed(store, one), ASKED, ASKED)
        studies.append(study)
    _, ((one, _), _) = make_ask(store, acme.workspace_id)
    walk(store, claimed(store, one), ASKED)
    # What was yesterday counts for its study, but not for today.
    before = update(_usage).where(_usage.c.study_id == studies[1]).values(at=store_clock(-86_400))
    store.write(lambda connection: connection.execute(before))
    first, second = (get(acme, f"/v1/studies/{study}") for study in studies[:2])
    assert first["workspace_usage_today"] == second["workspace_usage_today"]
    assert (first["workspace_usage_today"]["calls"], second["usage"]["calls"]) == (6, 4)
    assert get(rival, f"/v1/studies/{studies[2]}")["workspace_usage_today"]["calls"] == 4


def test_profiles_of_a_mind_are_named_after_a_colon(acme: ApiClient) -> None:
    study = acme.post("/v1/studies", {"name": "Mug", "modality": "interactive", "assignment": {"task": "Buy"}}).json()[
        "id"
    ]
    content = {"environment": "web", "url": "https://shop.example/"}

    def add(mind: str) -> Any:
        return acme.post(f"/v1/studies/{study}/iterations", {"content": content, "mind": mind})

    assert add("llm").json()["mind"] == "llm"
    assert add("llm:cheap-one_2").json()["mind"] == "llm:cheap-one_2"
    for wrong in ("llm:", "llm:Big", "llm: a", "heuristic:fast", "gpt", "llm:" + "a" * 51, "llm:a:b"):
        answer = add(wrong)
        assert answer.status_code == 422, wrong
        assert "llm" in answer.json()["error"]
