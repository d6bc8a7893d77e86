"""Webhooks on the command line."""

from collections.abc import Callable

from typer.testing import Result

from tests.fake_api import T1, FakeApi, example
from understudy.envelopes.webhooks import Webhook, WebhookDelivery

Cli = Callable[..., Result]

W1 = "77e00000-0000-4000-8000-00000000000a"
URL = "https://app.example/hook"
HOOK = example(Webhook, id=W1, alias="wh-77e", url=URL, events=["run.finished"], pending_count=3)
DELIVERY = example(
    WebhookDelivery,
    id=W1,
    type="participant.failed",
    participant_id=T1,
    status="dead",
    attempts=19,
    error="answered with status 500",
)


def test_webhook_create_sends_its_types_and_prints_the_secret(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/webhooks", HOOK | {"secret": "whsec_abc"})
    result = understudy("webhook", "create", URL, "--event", "run.finished")
    assert fake.bodies[0] == {"url": URL, "events": ["run.finished"]}
    assert "whsec_abc" in result.stdout
    assert "wh-77e" in result.stdout


def test_webhook_list_and_its_log_are_tables(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/webhooks", {"items": [HOOK], "next_cursor": None})
    fake.give("/v1/webhooks/wh-77e/deliveries", {"items": [DELIVERY], "next_cursor": "more"})
    assert URL in understudy("webhook", "list").stdout
    log = understudy("webhook", "deliveries", "wh-77e", "--status", "dead").stdout
    assert "answered with status 500" in log
    assert "webhook deliveries wh-77e --status dead --cursor more" in log


def test_webhook_delete_rotate_and_replay_call_their_routes(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/webhooks/wh-77e", {"id": W1, "alias": "wh-77e", "deleted": True})
    fake.give("/v1/webhooks/wh-77e/rotate", HOOK | {"secret": "whsec_new"})
    fake.give("/v1/webhooks/wh-77e/replay", {"replayed_count": 2})
    assert "whsec_new" in understudy("webhook", "rotate", "wh-77e").stdout
    assert "2 deliveries" in understudy("webhook", "replay", "wh-77e", "--since", "2026-12-01T09:00:00Z").stdout
    assert "wh-77e deleted" in understudy("webhook", "delete", "wh-77e").stdout
