"""simulation_cancel over HTTP: its envelope, its scopes, its skips. Contract section 3."""



from shared.store.engine import Store
from tests.callers import Caller
from tests.factories import make_participants, make_study


def test_the_answer_has_the_documented_shape(store: Store, acme: Caller) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (participant,) = make_participants(store, acme.workspace_id, study, iteration)
    answer = acme.post("/v1/simulations/cancel", {"participant_id": str(participant)})
    assert answer.status_code == 200
    assert answer.json() == {
        "cancelled": [{"participant_id": str(participant), "success": True, "status": "cancelled"}],
        "skipped": [],
        "summary": {"total": 1, "cancelled_count": 1, "skipped_count": 0},
    }
