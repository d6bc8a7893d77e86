"""Tests of the web apps of the guides."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.conf import settings
from django.test import RequestFactory
from standardwebhooks import Webhook

from tests.pages.live_stack import LiveStack
from tests.servers import serve_in_thread, wait_until


def use_web_apps(stage: LiveStack, files: dict[str, ModuleType]) -> None:
    """Raises AssertionError for the first app that does not work as the guide says."""
    simulations = files["simulations"]
    with ExitStack() as running:
        address = running.enter_context(serve_in_thread(files["fastapi_app"].app))
        apps = [
            httpx.Client(transport=httpx.WSGITransport(files[f"{name}_app"].app), base_url="http://app")
            for name in ("flask", "django")
        ]
        apps.append(httpx.Client(base_url=address, trust_env=False))
        for app in map(running.enter_context, apps):
            _use(app, simulations, stage.real("http://127.0.0.1:9000/"))
        running.callback(simulations.understudy.close)


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


def _use(app: httpx.Client, simulations: ModuleType, shop: str) -> None:
    form = {"url": shop, "task": "Look around"}
    started = app.post("/tests", json=form, timeout=60)
    assert started.status_code == 202, started.text
    id_ = started.json()["id"]

    def look() -> dict[str, Any]:
        seen: dict[str, Any] = app.get(f"/tests/{id_}").json()
        return seen

    assert look()["people"] == 5
    # A start whose answer was lost is repeated.
    simulations.start(simulations.TESTS[id_])
    assert look()["people"] == 5
    assert app.post(f"/tests/{id_}/stop").json()["stopped"] in range(6)
    assert app.post(f"/tests/{id_}/stop").json() == {"stopped": 0}
    wait_until(lambda: look() == {"people": 5, "active": 0})

    study = simulations.TESTS[id_].study_id
    one = simulations.understudy.participant_list(study_id=study).items[0].id
    more = {"instruction": "Switch to the German picker.", "key": id_}
    extended = [app.post(f"/participants/{one}/more", json=more) for _ in range(2)]
    assert [answer.status_code for answer in extended] == [202, 202]
    assert extended[0].json() == extended[1].json()
    assert look()["people"] == 6

    refused = app.post(f"/participants/{one}/more", json=more | {"instruction": "a" * 4001, "key": f"{id_}x"})
    assert (refused.status_code, "4,000" in refused.json()["error"]) == (422, True)
    failed = app.post("/tests", json=form | {"task": ""})
    assert (failed.status_code, "task" in failed.json()["error"]) == (500, True)
