"""Logs of processes that handle secrets of every kind contain none of them."""

import itertools
import json

import httpx
import pytest
from sqlalchemy import make_url

from tests.e2e.participants import all_terminal, dispatch_participants
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, free_port, wait_until
from understudy.faults import FIRED_PREFIX
from understudy.settings import Settings
from understudy.store.engine import Store

#: The password in the store's URL, tokens that clients guess, and other secrets.
PASSWORD = "chess/board 64"
GUESSES = ("us_not-the-one-but-close", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl", "dXNlcjpodW50ZXIyMg==")
MODEL_KEY = "sk-proj-0123456789abcdef"
COOKIE = "session-of-somebody"
COLLECTOR_KEY = "of-the-collector"


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_no_process_logs_a_secret_also_when_it_fails(store: Store, settings: Settings, fleet: Fleet) -> None:
    at = make_url(settings.store_url).set(username="postgres", password=PASSWORD)
    open_url = at.render_as_string(hide_password=False)
    settings = fleet.settings = settings.model_copy(update={"database_url": open_url})
    loud = {
        "UNDERSTUDY_LOG_LEVEL": "DEBUG",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {COLLECTOR_KEY}",
    }
    nowhere = make_url(open_url).set(host="127.0.0.1", port=free_port(), query={})
    away = {"UNDERSTUDY_DATABASE_URL": nowhere.render_as_string(hide_password=False)}
    # The worker fails in a commit, two processes do not reach the store, all do not reach the collector.
    processes = fleet.start("run-1", "control", "api-1", **loud, UNDERSTUDY_FAULTS="step.commit.before=raise@2")
    processes += fleet.start("sweeper", "api-2", **loud, **away)
    api, storeless_api = (process.url for process in processes if process.url)
    with ApiClient(store, api, "acme") as acme:
        # A plug-in may quote anything in its exception.
        words = f"{open_url} {settings.broker_url} Authorization: Bearer {acme.secret} {MODEL_KEY}"
        study, _ = make_study(store, acme.workspace_id, content={"at": {"3": "raise"}, "words": words})
        acme.http.headers["Cookie"] = f"session={COOKIE}"
        dispatch_participants(acme, study, 4)
        acme.get("/v1/studies", token=acme.secret)
        wait_until(lambda: all_terminal(store))
        acme.post("/v1/simulations/cancel", {"study_id": str(study)})
        for url, guess, scheme in itertools.product((api, storeless_api), GUESSES, ("Bearer", "Basic", "")):
            headers = {"Authorization": f"{scheme} {guess}".strip(), "X-Api-Key": guess}
            httpx.get(f"{url}/v1/studies?api_key={guess}", headers=headers, trust_env=False)
        authorized = {"Authorization": f"Bearer {acme.secret}"}
        assert httpx.get(f"{storeless_api}/v1/studies", headers=authorized, trust_env=False).status_code == 503
    # The missing collector delays no end.
    fleet.stop()
    broker = make_url(settings.broker_url).password
    assert broker
    secrets = {PASSWORD, acme.secret, str(broker), MODEL_KEY, COOKIE, COLLECTOR_KEY, *GUESSES}
    secrets |= {open_url.split(":")[2].split("@")[0]}
    logs = {process.name: process.log.read_text() for process in processes}
    assert [(name, secret) for name, log in logs.items() for secret in secrets if secret in log] == []
    # All lines but the last words of a fault are JSON.
    lines = {
        name: [line for line in log.splitlines() if not line.startswith(FIRED_PREFIX)] for name, log in logs.items()
    }
    assert all([json.loads(line) for line in written] for written in lines.values()), lines
    log = "".join(logs.values())
    reports = ("failed in a step", "store unavailable", FIRED_PREFIX, "Transient error")
    assert [report for report in reports if report not in log] == []
    assert "uncaught exception in thread" not in log
