"""What processes write, with secrets of every kind around: none of them is told."""

import json

import httpx
import pytest
from sqlalchemy import make_url

from tests.e2e.participants import all_terminal, dispatch_participants
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, Process, free_port, wait_until
from understudy.deploy.ports import is_healthy
from understudy.faults import FIRED_PREFIX
from understudy.settings import Settings
from understudy.store.engine import Store

#: Of the store's URL, of a stranger's guesses, and of a proxy in front of us.
PASSWORD = "chess/board 64"
GUESSES = ("us_not-the-one-but-close", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl", "dXNlcjpodW50ZXIyMg==")
MODEL_KEY = "sk-proj-0123456789abcdef"
COOKIE = "session-of-somebody"
COLLECTOR_KEY = "of-the-collector"


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_no_process_tells_a_secret_whatever_happens(store: Store, settings: Settings, fleet: Fleet) -> None:
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
    # One breaks in the middle of a commit, one cannot reach its store, one cannot reach its collector.
    processes = fleet.start("run-1", "control", **loud, UNDERSTUDY_FAULTS="step.commit.before=raise@2")
    processes += fleet.start("sweeper", **loud, **away)
    ports = [free_port(), free_port()]
    for port, more in zip(ports, ({}, away), strict=True):
        processes.append(Process(settings, "api", "--port", str(port), name=f"api-{port}", **loud, **more))
    try:
        for port in ports:
            wait_until(lambda port=port: is_healthy("127.0.0.1", port, "/healthz"))
        here, lost = (f"http://127.0.0.1:{port}" for port in ports)
        with ApiClient(store, here, "acme") as acme:
            # A plug-in may quote anything in what it raises.
            words = f"{open_url} {settings.broker_url} Authorization: Bearer {acme.secret} {MODEL_KEY}"
            study, _ = make_study(store, acme.workspace_id, content={"at": {"3": "raise"}, "words": words})
            acme.http.headers["Cookie"] = f"session={COOKIE}"
            dispatch_participants(acme, study, 4)
            acme.get("/v1/studies", token=acme.secret)
            wait_until(lambda: all_terminal(store))
            acme.post("/v1/simulations/cancel", {"study_id": str(study)})
            for url in (here, lost):
                for guess in GUESSES:
                    for scheme in ("Bearer", "Basic", ""):
                        given = {"Authorization": f"{scheme} {guess}".strip(), "X-Api-Key": guess}
                        httpx.get(f"{url}/v1/studies?api_key={guess}", headers=given, trust_env=False)
            asked = {"Authorization": f"Bearer {acme.secret}"}
            assert httpx.get(f"{lost}/v1/studies", headers=asked, trust_env=False).status_code == 503
    finally:
        for process in processes:
            process.popen.terminate()
        for process in processes:
            process.stop()
    broker = make_url(settings.broker_url).password
    assert broker
    secrets = {PASSWORD, acme.secret, str(broker), MODEL_KEY, COOKIE, COLLECTOR_KEY, *GUESSES}
    secrets |= {make_url(open_url).render_as_string(hide_password=False).split(":")[2].split("@")[0]}
    for process in processes:
        told = process.log.read_text()
        # What a fault leaves is not logged, as it may be the last word.
        assert [json.loads(line) for line in told.splitlines() if not line.startswith(FIRED_PREFIX)]
        for secret in secrets:
            assert secret not in told, f"{process.name} tells {secret}"
    # And they had something to tell.
    told = "".join(process.log.read_text() for process in processes)
    for what in ("failed in a step", "store unavailable", FIRED_PREFIX, "Transient error"):
        assert what in told
    assert "uncaught exception in thread" not in told
