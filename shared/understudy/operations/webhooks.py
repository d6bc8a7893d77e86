"""The operations on webhooks. Source: contract section 6."""

from understudy.envelopes.base import Page
from understudy.envelopes.webhooks import Replayed, Webhook, WebhookCreated, WebhookDeleted, WebhookDelivery
from understudy.operations.operation import Operation, Tier
from understudy.operations.queries import ListQuery, NoQuery
from understudy.operations.requests import EmptyRequest
from understudy.operations.webhook_requests import DeliveriesQuery, ReplayRequest, WebhookRequest

_WRITE = ("webhook", "write")
_READ = ("webhook", "read")

WEBHOOK_CREATE = Operation(
    "webhook_create",
    "POST",
    "/v1/webhooks",
    Tier.WRITE,
    _WRITE,
    "Create a webhook",
    """\
Create a webhook: an address of yours that receives the workspace's events from now on.

A participant that completes, fails or is cancelled sends one event, and so does a dispatch when all its participants
are terminal (`run.finished`). The answer has the `secret` of the signatures; no later answer has it. A workspace has
at most 20 webhooks. See docs_get("guides/webhooks").""",
    WebhookRequest,
    WebhookCreated,
    starts=True,
    positional=("url",),
    location="/v1/webhooks/{id}",
    example={"url": "https://app.example/understudy", "events": ["participant.completed", "run.finished"]},
)

WEBHOOK_LIST = Operation(
    "webhook_list",
    "GET",
    "/v1/webhooks",
    Tier.READ_ONLY,
    _READ,
    "List webhooks",
    "List the webhooks of the workspace, in order of creation.",
    ListQuery,
    Page[Webhook],
    example={"limit": 20},
)

WEBHOOK_GET = Operation(
    "webhook_get",
    "GET",
    "/v1/webhooks/{webhook_id}",
    Tier.READ_ONLY,
    _READ,
    "Get a webhook",
    "Get one webhook, with the number of deliveries that wait.",
    NoQuery,
    Webhook,
)

WEBHOOK_DELETE = Operation(
    "webhook_delete",
    "DELETE",
    "/v1/webhooks/{webhook_id}",
    Tier.WRITE,
    _WRITE,
    "Delete a webhook",
    """\
Delete a webhook with its log of deliveries.

No further delivery begins; one that is in flight may still arrive.""",
    NoQuery,
    WebhookDeleted,
)

WEBHOOK_ROTATE = Operation(
    "webhook_rotate",
    "POST",
    "/v1/webhooks/{webhook_id}/rotate",
    Tier.WRITE,
    _WRITE,
    "Rotate a webhook's secret",
    """\
Replace the secret of a webhook; the answer has the new one.

For 24 hours, deliveries carry the signatures of the new secret and of the one before it, so that the receiver can
change in between.""",
    EmptyRequest,
    WebhookCreated,
)

WEBHOOK_REPLAY = Operation(
    "webhook_replay",
    "POST",
    "/v1/webhooks/{webhook_id}/replay",
    Tier.WRITE,
    _WRITE,
    "Replay deliveries",
    """\
Send deliveries of a webhook again: one, or all since a time.

Each keeps its `webhook-id` and is retried for three days again. Events are in the log for 30 days after their
delivery; events before the creation of the webhook are not.""",
    ReplayRequest,
    Replayed,
    example={"since": "2026-12-01T09:00:00Z", "status": "dead"},
)

WEBHOOK_DELIVERIES = Operation(
    "webhook_deliveries",
    "GET",
    "/v1/webhooks/{webhook_id}/deliveries",
    Tier.READ_ONLY,
    _READ,
    "List deliveries",
    "List the log of a webhook's deliveries, in order of creation.",
    DeliveriesQuery,
    Page[WebhookDelivery],
    example={"status": "dead", "limit": 20},
)
