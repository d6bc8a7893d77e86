"""A paused study and limits that delay: every answer says why a participant waits."""

from typing import Any
from uuid import UUID

from sqlalchemy import update

from tests.contract.manual_worker import commit, make_run, participant, run_steps
from tests.factories import make_lease, make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import wait_until
from understudy.store.engine import Store
from understudy.store.schema import Tables


def shown(caller: ApiClient, id_: UUID) -> tuple[bool, str | None, str | None]:
    one = caller.get(f"/v1/participants/{id_}").json()
    return one["likely_stuck"], one["stuck_reason"], one["held_reason"]


def why(caller: ApiClient, id_: UUID) -> str:
    """Returns what a wait that times out says."""
    answer = caller.post("/v1/simulations/wait", {"participant_ids": [str(id_)], "timeout": 0.1}).json()
    assert answer["error_code"] == "wait_timeout"
    text: str = answer["next_action"]["why"]
    return text


def pause(caller: ApiClient, study: UUID, word: str = "pause") -> dict[str, Any]:
    answer = caller.post(f"/v1/studies/{study}/{word}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_paused_study_says_so_and_resumes(store: Store, acme: ApiClient) -> None:
    make_lease(store)
    study, (running, waiting) = make_run(store, acme, 2)
    held = run_steps(store, running, 1)
    answer = pause(acme, study)
    assert (answer["pending_count"], answer["running_count"], answer["paused_at"] is not None) == (1, 1, True)
    assert pause(acme, study) == answer
    sentence = f"Study {answer['alias']} is paused. To continue: `understudy resume {answer['alias']}`."
    assert shown(acme, waiting) == (True, sentence, sentence)
    assert sentence in why(acme, waiting)
    assert acme.get(f"/v1/studies/{study}", view="full").json()["paused_at"] == answer["paused_at"]
    assert commit(store, held, 1), "a run keeps its next interaction"
    assert pause(acme, study, "resume")["paused_at"] is None
    assert shown(acme, waiting) == (False, None, None)
    wait_until(lambda: participant(store, waiting)["dispatched_at"])
    assert pause(acme, study, "resume")["paused_at"] is None


def test_run_of_a_paused_study_waits_and_says_why(store: Store, acme: ApiClient) -> None:
    make_lease(store)
    study, _ = make_study(store, acme.workspace_id)
    pause(acme, study)
    answer = acme.post(f"/v1/studies/{study}/run", {"sample": 2, "wait": True, "timeout": 0.1}).json()
    assert "is paused" in answer["next_action"]["why"]
    assert {one["status"] for one in answer["participants"]} == {"pending"}


def test_limit_of_a_study_delays_and_says_so(store: Store, acme: ApiClient) -> None:
    make_lease(store)
    body = {"name": "S", "assignment": {"task": "Look"}, "max_running": 1}
    study = acme.post("/v1/studies", body | {"iteration": {"content": {"environment": "scripted"}}}).json()
    assert study["max_running"] == 1
    iteration = UUID(study["iterations"][0]["id"])
    ids = make_participants(store, acme.workspace_id, UUID(study["id"]), iteration, 3)
    acme.post(f"/v1/studies/{study['id']}/resume")
    wait_until(lambda: participant(store, ids[0])["dispatched_at"])
    sentence = "At most 1 participant of this study may run at once."
    assert shown(acme, ids[2]) == (False, None, sentence)
    assert sentence in why(acme, ids[2])
    assert shown(acme, ids[0]) == (False, None, None)


def test_limit_of_a_workspace_is_set_by_its_operator(store: Store, acme: ApiClient) -> None:
    make_lease(store)
    own = update(Tables.workspace).where(Tables.workspace.c.id == acme.workspace_id).values(max_running=1)
    store.write(lambda connection: connection.execute(own))
    study, ids = make_run(store, acme, 2)
    pause(acme, study, "resume")
    wait_until(lambda: participant(store, ids[0])["dispatched_at"])
    assert shown(acme, ids[1])[2] == "At most 1 participant of this workspace may run at once."


def test_study_of_another_workspace_is_not_found(store: Store, acme: ApiClient, rival: ApiClient) -> None:
    study, _ = make_run(store, acme, 1)
    for word in ("pause", "resume"):
        assert rival.post(f"/v1/studies/{study}/{word}").status_code == 404
    assert acme.get(f"/v1/studies/{study}", view="full").json()["paused_at"] is None
