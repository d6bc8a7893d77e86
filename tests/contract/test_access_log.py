"""The access log: one line per request, without secrets."""

import logging

import pytest

from tests.http_client import ApiClient


def test_access_log_has_one_line_per_request_without_query_or_token(
    acme: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "understudy.admission.request_metrics")
    acme.get("/v1/studies", limit=7)
    acme.get("/v1/studies/s-999")
    acme.http.get("/v1/studies?ticket=secret-ticket", headers={"Authorization": "Bearer us_secret"})
    acme.get("/healthz")
    # The client of these tests reads the description of the API once.
    messages = [one.getMessage() for one in caplog.records if "openapi" not in one.getMessage()]
    lines = [message for message in messages if message.startswith("request ")]
    assert [line.split(" duration_ms=")[0] for line in lines] == [
        "request method=GET route=/v1/studies status=200",
        "request method=GET route=/v1/studies/{study_id} status=404",
        "request method=GET route=other status=401",
    ]
    assert f"workspace={acme.workspace_id} role=admin" in lines[0]
    assert "secret" not in "".join(lines)
