"""A whole fleet sends the events of real runs to a receiver."""

from collections import Counter

from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from tests.webhook_receiver import receiver
from understudy.store.engine import Store


def test_the_ends_of_a_run_an_extend_and_a_cancel_arrive_signed(store: Store, fleet: Fleet) -> None:
    *_, api = fleet.start("run-1", "control", "sweeper", "webhooks", "api", UNDERSTUDY_WEBHOOK_NETWORKS="loopback")
    with ApiClient(store, api.url, "acme") as caller, receiver() as target:
        secret = caller.post("/v1/webhooks", {"url": target.url}).json()["secret"]
        study, _ = make_study(store, caller.workspace_id, content={"success_at": 2})
        run = caller.post(f"/v1/studies/{study}/run", {"sample": 3, "max_interactions": 3, "wait": True}).json()
        source = run["dispatch"]["participant_ids"][0]
        slow, _ = make_study(store, caller.workspace_id, content={"delay_s": 30})
        endless = caller.post(f"/v1/studies/{slow}/run", {"sample": 1}).json()["dispatch"]["participant_ids"][0]
        caller.post("/v1/simulations/cancel", {"participant_id": endless})
        caller.post("/v1/simulations/extend", {"participant_id": source, "additional_steps": 1, "wait": True})

        def types() -> Counter[str]:
            return Counter(request.message["type"] for request in target.requests)

        expected = {"participant.completed": 4, "participant.cancelled": 1, "run.finished": 3}
        wait_until(lambda: types() == expected, 30, f"all events arrived: {types()}")
        messages = [request.verify(secret) for request in target.requests]
    runs = [message["data"] for message in messages if message["type"] == "run.finished"]
    assert sorted(one["participant_count"] for one in runs) == [1, 1, 3]
    assert [one["participant_ids"] for one in runs if one["participant_count"] == 3] == [
        run["dispatch"]["participant_ids"]
    ]
