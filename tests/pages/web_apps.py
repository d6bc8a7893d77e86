"""Tests of the three web apps of a guide."""

from contextlib import ExitStack
from types import ModuleType
from typing import Any

import httpx

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
