"""Webhooks over REST: creation, addresses, secrets, replays, the log. Contract section 6."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from tests.contract.manual_worker import counts, dump_tables, make_run
from tests.http_client import ApiClient
from understudy.domain.webhooks import MAX_WEBHOOKS
from understudy.sequencer import assign_positions
from understudy.store import deliveries, lifecycle
from understudy.store.engine import Store
from understudy.store.schema import Tables

# A public address, so that no name is looked up.
URL = "https://93.184.215.14/hook"


def create(caller: ApiClient, **fields: Any) -> dict[str, Any]:
    answer = caller.post("/v1/webhooks", {"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def cancelled(store: Store, caller: ApiClient, count: int = 1) -> None:
    """Participants whose cancel became deliveries."""
    _, ids = make_run(store, caller, count)
    store.write(lambda connection: lifecycle.cancel(connection, caller.workspace_id, ids))
    assign_positions(store, wait_for_lock=True)
    with store.read() as connection:
        batch = deliveries.next_batch(connection, caller.workspace_id)
    assert batch is not None
    store.write(lambda connection: deliveries.record_batch(connection, batch))


def test_a_webhook_is_created_listed_and_deleted(store: Store, acme: ApiClient) -> None:
    created = create(acme, events=["run.finished"])
    assert created.pop("secret").startswith("whsec_")
    assert created["alias"].startswith("wh-")
    assert created["events"] == ["run.finished"]
    assert acme.get("/v1/webhooks").json() == {"items": [created], "next_cursor": None}
    assert acme.get(f"/v1/webhooks/{created['alias']}").json() == created
    gone = acme.http.delete(f"/v1/webhooks/{created['id'].upper()}")
    assert (gone.status_code, gone.json()) == (200, {"id": created["id"], "alias": created["alias"], "deleted": True})
    assert acme.http.delete(f"/v1/webhooks/{created['id']}").status_code == 404
    assert counts(store)["webhook"] == 0


def test_a_webhook_without_types_gets_all_of_them(acme: ApiClient) -> None:
    assert len(create(acme)["events"]) == 4
    assert acme.post("/v1/webhooks", {"url": URL}).headers["location"].startswith("/v1/webhooks/")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "url"),
        *(
            ({"url": url}, "url")
            for url in (
                *(
                    "",
                    "app.example",
                    "ftp://app.example",
                    "file:///etc/passwd",
                    "https://",
                    "https://:80",
                    "http://a b",
                ),
                *(
                    "https://me:pw@app.example",
                    "https://app.example/#x",
                    "https://app.example:0",
                    "https://[::1",
                    "//a",
                ),
                *(
                    "https://app.example\\@127.0.0.1/",
                    "https://ex\u00e4mple.com/",
                    "https://a.example/" + "a" * 2_000,
                    7,
                ),
                *("http://127.0.0.1/", "http://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/", "http://0/"),
                *("http://[::ffff:127.0.0.1]/", "http://2130706433/", "http://localhost:8000/", "http://0x7f.1/"),
                *(
                    "http://[fd00:ec2::254]/",
                    "http://[64:ff9b::a00:1]/",
                    "http://100.100.100.200/",
                    "http://[fe80::1]/",
                ),
            )
        ),
        *(
            ({"url": URL, "events": events}, "events")
            for events in ([], ["nope"], "run.finished", ["run.finished", "run.finished"], [7])
        ),
        ({"url": URL, "secret": "mine"}, "secret"),
    ],
)
def test_a_wrong_webhook_is_refused_and_changes_nothing(
    store: Store, acme: ApiClient, fields: dict[str, Any], says: str
) -> None:
    before = dump_tables(store)
    answer = acme.post("/v1/webhooks", fields)
    assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error")
    assert says in answer.json()["error"]
    assert dump_tables(store) == before


@pytest.mark.parametrize(
    ("networks", "allowed", "refused"),
    [
        ("public,loopback", "http://localhost:9/", "http://10.0.0.1/"),
        ("private", "http://10.0.0.1/", URL),
        ("10.1.0.0/16", "http://10.1.2.3/", "http://10.2.0.1/"),
        ("0.0.0.0/0, ::/0", "http://10.1.2.3/", "http://169.254.169.254/"),
    ],
)
def test_the_operator_lists_the_networks_of_receivers(
    acme: ApiClient, api_with: Callable[..., str], networks: str, allowed: str, refused: str
) -> None:
    address = api_with(webhook_networks=networks)
    assert acme.http.post(f"{address}/v1/webhooks", json={"url": allowed}).status_code == 201
    assert acme.http.post(f"{address}/v1/webhooks", json={"url": refused}).status_code == 422


def test_concurrent_creations_stay_within_the_maximum(store: Store, acme: ApiClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: acme.post("/v1/webhooks", {"url": URL}), range(MAX_WEBHOOKS + 5)))
    assert sorted(answer.status_code for answer in answers) == [201] * MAX_WEBHOOKS + [422] * 5
    assert counts(store)["webhook"] == MAX_WEBHOOKS


def test_a_repeated_creation_returns_the_same_webhook(store: Store, acme: ApiClient) -> None:
    def post(body: dict[str, Any]) -> Any:
        return acme.http.post("/v1/webhooks", json=body, headers={"Idempotency-Key": "k"})

    first = post({"url": URL}).json()
    assert post({"url": URL}).json() == first
    assert post({"url": URL + "2"}).status_code == 409
    # The same request, with the default spelled out in another order.
    assert post({"url": URL, "events": list(reversed(first["events"]))}).json() == first
    acme.post(f"/v1/webhooks/{first['id']}/rotate", {})
    assert "secret" not in post({"url": URL}).json()
    acme.http.delete(f"/v1/webhooks/{first['id']}")
    assert post({"url": URL}).status_code == 409
    assert counts(store)["webhook"] == 0


def test_a_rotation_answers_another_secret(acme: ApiClient) -> None:
    first = create(acme)
    second = acme.post(f"/v1/webhooks/{first['id']}/rotate", {})
    assert second.status_code == 200
    assert second.json()["secret"] != first["secret"]
    assert "secret" not in acme.get(f"/v1/webhooks/{first['id']}").json()


def test_the_log_shows_each_delivery_and_a_replay_makes_them_due(store: Store, acme: ApiClient) -> None:
    hook = create(acme, events=["participant.cancelled"])
    path = f"/v1/webhooks/{hook['id']}"
    cancelled(store, acme, 3)
    log = acme.get(f"{path}/deliveries").json()["items"]
    assert [entry["status"] for entry in log] == ["pending"] * 3
    assert acme.get(path).json()["pending_count"] == 3
    store.write(lambda c: c.execute(update(Tables.delivery).values(status="dead", ended_at=Tables.delivery.c.due_at)))
    assert acme.get(f"{path}/deliveries", status="pending").json()["items"] == []
    one = acme.post(f"{path}/replay", {"delivery_id": log[0]["id"]})
    assert (one.status_code, one.json()) == (200, {"replayed_count": 1})
    since = {"since": log[0]["occurred_at"], "status": "dead"}
    assert acme.post(f"{path}/replay", since).json() == {"replayed_count": 2}
    assert acme.post(f"{path}/replay", {"since": "2999-01-01T00:00:00+02:00"}).json() == {"replayed_count": 0}
    assert acme.post(f"{path}/replay", {"delivery_id": str(uuid4())}).status_code == 404
    pages = [acme.get(f"{path}/deliveries", limit=2).json()]
    pages.append(acme.get(f"{path}/deliveries", limit=2, cursor=pages[0]["next_cursor"]).json())
    assert {entry["id"] for page in pages for entry in page["items"]} == {entry["id"] for entry in log}


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"since": "yesterday"}, {"since": "2026-12-01"}, {"since": "2026-12-01T09:00:00"}, {"since": 7}),
        *({"delivery_id": "x"}, {"delivery_id": str(uuid4()), "since": "2026-12-01T09:00:00Z"}),
        *({"delivery_id": str(uuid4()), "status": "dead"}, {"since": "2026-12-01T09:00:00Z", "status": "lost"}),
    ],
)
def test_a_wrong_replay_is_refused(acme: ApiClient, body: dict[str, Any]) -> None:
    hook = create(acme)
    assert acme.post(f"/v1/webhooks/{hook['id']}/replay", body).status_code == 422
