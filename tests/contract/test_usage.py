"""The usage of language models as callers see it: per interaction, participant, study and ask."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from tests.contract.manual_worker import claim, commit, end, make_run
from tests.factories import make_ask, make_study
from tests.http_client import ApiClient
from tests.parameters import one_store
from understudy.domain.lifecycle import FailureKind
from understudy.domain.simulation import Usage
from understudy.store import lifecycle
from understudy.store.engine import Store, store_clock
from understudy.store.guards import Claim
from understudy.store.schema import Tables

ASKED = Usage(calls=2, input_tokens=1_000, output_tokens=100, seconds=1.5, cost=0.25, model="m")
FIGURES = {"calls": 2, "input_tokens": 1_000, "output_tokens": 100, "seconds": 1.5, "cost": 0.25}


def walk(store: Store, held: Claim, *used: Usage | None, start: int = 0) -> None:
    """Store an interaction for each usage."""
    for index, usage in enumerate(used, start):
        assert commit(store, held, index, usage=usage)


def fail(store: Store, held: Claim, used: Usage | None) -> bool:
    kind = FailureKind.SIMULATOR_ERROR
    return store.write(lambda connection: lifecycle.fail(connection, held, kind, "No.", 0, used))


def get(acme: ApiClient, path: str, **query: Any) -> Any:
    answer = acme.get(path, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_usage_is_shown_per_interaction_and_summed_per_participant_and_study(store: Store, acme: ApiClient) -> None:
    study, (one, other, silent) = make_run(store, acme, 3)
    walk(store, claim(store, one), ASKED, None, ASKED)
    walk(store, claim(store, other), ASKED)
    walk(store, claim(store, silent), None)

    steps = get(acme, f"/v1/participants/{one}/interactions")["items"]
    assert [step.get("usage") for step in steps] == [FIGURES | {"model": "m"}, None, FIGURES | {"model": "m"}]
    twice, thrice = ({name: count * value for name, value in FIGURES.items()} for count in (2, 3))
    by_participant = {str(one): twice, str(other): FIGURES, str(silent): None}
    alone = {id_: get(acme, f"/v1/participants/{id_}").get("usage") for id_ in by_participant}
    listed = get(acme, "/v1/participants", study_id=str(study))["items"]
    rows = get(acme, f"/v1/studies/{study}", view="per_participant")["participants"]
    assert alone == by_participant
    assert [{row["id"]: row.get("usage") for row in page} for page in (listed, rows)] == [by_participant] * 2
    views = [get(acme, f"/v1/studies/{study}", view=view) for view in ("summary", "per_participant", "transcripts")]
    # The workspace has no other usage today.
    assert [(view["usage"], view["workspace_usage_today"]) for view in views] == [(thrice, thrice)] * 3


def test_the_usage_of_a_failed_step_counts(store: Store, acme: ApiClient) -> None:
    _, (one,) = make_run(store, acme)
    held = claim(store, one)
    walk(store, held, ASKED)
    assert fail(store, held, ASKED)
    assert get(acme, f"/v1/participants/{one}")["usage"]["calls"] == 4
    assert len(get(acme, f"/v1/participants/{one}/interactions")["items"]) == 1


def test_a_run_that_lost_its_claim_adds_no_usage(store: Store, acme: ApiClient) -> None:
    study, (one,) = make_run(store, acme)
    held = claim(store, one)
    end(store, held, "cancelled")
    assert not commit(store, held, 0, usage=ASKED)
    assert not fail(store, held, ASKED)
    assert "usage" not in get(acme, f"/v1/studies/{study}")


def test_a_child_counts_only_its_own_usage(store: Store, acme: ApiClient) -> None:
    study, (source,) = make_run(store, acme)
    held = claim(store, source)
    walk(store, held, ASKED)
    end(store, held, "cancelled")
    extended = acme.post("/v1/simulations/extend", {"participant_id": str(source)}).json()
    child = UUID(extended["dispatch"]["participant_ids"][0])
    walk(store, claim(store, child), ASKED, ASKED, start=1)
    assert get(acme, f"/v1/participants/{child}")["usage"]["calls"] == 4
    steps = get(acme, f"/v1/participants/{child}/interactions")["items"]
    assert [step["usage"]["calls"] for step in steps] == [2, 2, 2]
    assert get(acme, f"/v1/studies/{study}")["usage"]["calls"] == 6


def test_a_sum_with_a_part_of_unknown_cost_has_no_cost(store: Store, acme: ApiClient) -> None:
    study, (one,) = make_run(store, acme)
    free = Usage(calls=1, input_tokens=10, output_tokens=1, seconds=0.5, cost=None, model="local")
    walk(store, claim(store, one), ASKED, free)
    total = get(acme, f"/v1/studies/{study}")["usage"]
    assert total == {"calls": 3, "input_tokens": 1_010, "output_tokens": 101, "seconds": 2.0}


def test_usage_is_summed_per_ask(store: Store, acme: ApiClient) -> None:
    ask, ((one, _), _) = make_ask(store, acme.workspace_id)
    walk(store, claim(store, one), ASKED)
    assert get(acme, f"/v1/asks/{ask}")["usage"] == FIGURES
    other, _ = make_ask(store, acme.workspace_id)
    assert "usage" not in get(acme, f"/v1/asks/{other}")


def test_usage_is_summed_per_workspace_and_day(store: Store, acme: ApiClient, rival: ApiClient) -> None:
    made = [(caller, *make_run(store, caller)) for caller in (acme, acme, rival)]
    for _, _, (one,) in made:
        walk(store, claim(store, one), ASKED, ASKED)
    _, ((one, _), _) = make_ask(store, acme.workspace_id)
    walk(store, claim(store, one), ASKED)
    # The usage of yesterday counts for its study, but not for today.
    _, yesterdays, _ = made[1]
    before = update(Tables.usage).where(Tables.usage.c.study_id == yesterdays).values(at=store_clock(-86_400))
    store.write(lambda connection: connection.execute(before))
    read = [get(caller, f"/v1/studies/{study}") for caller, study, _ in made]
    figures = [(study["usage"]["calls"], study["workspace_usage_today"]["calls"]) for study in read]
    assert figures == [(4, 6), (4, 6), (4, 4)]


@one_store
@pytest.mark.parametrize(
    ("mind", "status"),
    [
        *((mind, 201) for mind in ("llm", "llm:cheap-one_2")),
        *((mind, 422) for mind in ("llm:", "llm:Big", "llm: a", "heuristic:fast", "gpt", "llm:" + "a" * 51, "llm:a:b")),
    ],
)
def test_a_profile_of_a_mind_is_named_after_a_colon(store: Store, acme: ApiClient, mind: str, status: int) -> None:
    study, _ = make_study(store, acme.workspace_id)
    content = {"environment": "web", "url": "https://shop.example/"}
    answer = acme.post(f"/v1/studies/{study}/iterations", {"content": content, "mind": mind})
    assert answer.status_code == status
    assert mind == answer.json()["mind"] if status == 201 else "llm" in answer.json()["error"]
