"""Tests of the receivers of webhooks in the guide."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from uuid import uuid4

import httpx
import pytest
from django.conf import settings
from django.test import RequestFactory
from standardwebhooks import Webhook

from tests.pages.live_stack import LiveStack
from tests.servers import serve_in_thread


def use_receivers(_: LiveStack, files: dict[str, ModuleType]) -> None:
    """Raises AssertionError for the first receiver of webhooks that does not verify as the guide says."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"])

    def django(body: bytes, headers: dict[str, str]) -> int:
        meta = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        request = RequestFactory().generic("POST", "/understudy", body, "application/json", **meta)
        return int(files["django_receiver"].understudy(request).status_code)

    def flask(body: bytes, headers: dict[str, str]) -> int:
        with httpx.Client(transport=httpx.WSGITransport(files["flask_receiver"].app), base_url="http://app") as app:
            return app.post("/understudy", content=body, headers=headers).status_code

    with serve_in_thread(files["fastapi_receiver"].app) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEBHOOK_SECRET", secret := "whsec_" + "QUJD" * 8)

        def fastapi(body: bytes, headers: dict[str, str]) -> int:
            return httpx.post(f"{address}/understudy", content=body, headers=headers, trust_env=False).status_code

        for app in (flask, django, fastapi):
            _send_events(app, secret, files["receiver"])


def _send_events(app: Callable[[bytes, dict[str, str]], int], secret: str, receiver: ModuleType) -> None:
    finished, id_ = len(receiver.FINISHED), str(uuid4())
    body = json.dumps({"type": "run.finished", "data": {"dispatch_id": id_}})
    now = datetime.now(UTC)
    good = {"webhook-id": id_, "webhook-timestamp": str(int(now.timestamp()))}
    good["webhook-signature"] = Webhook("whsec_REVG").sign(id_, now, body) + " " + Webhook(secret).sign(id_, now, body)
    # The event arrives twice, and is handled once.
    assert [app(body.encode(), good) for _ in range(2)] == [204, 204]
    assert len(receiver.FINISHED) == finished + 1
    late = good | {"webhook-timestamp": "1700000000"}
    for bad in (good | {"webhook-signature": "v1,AAAA"}, good | {"webhook-signature": "nonsense"}, late, {}):
        assert app(body.encode(), bad) == 400
    assert app(body.encode() + b" ", good) == 400
    assert len(receiver.FINISHED) == finished + 1
