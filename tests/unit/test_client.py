"""The Python client: its requests, what it reads from answers, and its errors."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fake_api import DISPATCHED, STUDY, T1, error_body, summary
from understudy.client import ResponseLost, RunFailure, Understudy, UnknownErrorCode, to_error
from understudy.client.server_address import find_server_address
from understudy.domain import errors
from understudy.domain.errors import AuthFailed, ServiceUnavailable, UnderstudyError, ValidationError
from understudy.envelopes.studies import StudyFull, StudySummary

SUMMARY = summary() | {"field_of_a_newer_server": 1}


class Server:
    """Answers everything with one response, and remembers the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Any = {}
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, bytes):
            return httpx.Response(self.status, content=self.answer)
        return httpx.Response(self.status, json=self.answer)

    @property
    def request(self) -> httpx.Request:
        return self.requests[-1]

    @property
    def body(self) -> Any:
        return json.loads(self.request.content)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Iterator[Understudy]:
    with Understudy("http://127.0.0.1:1", "secret", wire=httpx.MockTransport(server)) as client:
        yield client


# -- requests -----------------------------------------------------------------------------------------


def test_a_request_carries_the_token_and_json(client: Understudy, server: Server) -> None:
    server.answer, server.status = STUDY, 201
    study = client.study_create("Pickers", assignment={"task": "Read"})
    assert isinstance(study, StudyFull)
    assert server.request.headers["authorization"] == "Bearer secret"
    assert server.request.headers["content-type"] == "application/json"
    assert server.body == {"name": "Pickers", "assignment": {"task": "Read"}}


def test_the_path_of_a_server_url_is_kept(server: Server) -> None:
    server.answer = SUMMARY
    with Understudy("http://host/understudy/", "secret", wire=httpx.MockTransport(server)) as client:
        client.study_get("s-b2c", "summary")
    assert server.request.url == "http://host/understudy/v1/studies/s-b2c?view=summary"


def test_a_cursor_is_escaped_in_the_query(client: Understudy, server: Server) -> None:
    server.answer = {"items": [], "next_cursor": None}
    client.participant_interactions("pt-1f3", own=True, cursor="c/&")
    assert server.request.url.path == "/v1/participants/t-1f3/interactions"
    assert dict(server.request.url.params) == {"own": "true", "cursor": "c/&"}


@pytest.mark.parametrize("wrong", ["", "s-b2c", "../people", "t-1F3", "t-1f3/cancel", "1f3"])
def test_an_id_of_another_kind_never_becomes_a_path(client: Understudy, server: Server, wrong: str) -> None:
    with pytest.raises(ValidationError, match="participant_id"):
        client.participant_get(wrong)
    assert not server.requests


@pytest.mark.parametrize("wait_s", [600.0, 3600.0])
def test_the_read_timeout_is_longer_than_the_wait(client: Understudy, server: Server, wait_s: float) -> None:
    server.answer = DISPATCHED
    client.simulation_wait(["t-1f3"], timeout=wait_s)
    assert server.request.extensions["timeout"]["read"] > wait_s + 10
    client.study_run("s-b2c", sample=1, wait=True, timeout=wait_s)
    assert server.request.extensions["timeout"]["read"] > wait_s + 10
    client.simulation_extend("t-1f3", timeout=wait_s)
    assert server.request.extensions["timeout"]["read"] == 30


def test_a_timeout_out_of_bounds_is_sent_but_nan_is_refused(client: Understudy, server: Server) -> None:
    server.answer = DISPATCHED
    client.simulation_wait(["t-1f3"], timeout=-1)
    client.simulation_wait(["t-1f3"], timeout=1e300)
    with pytest.raises(ValidationError):
        client.simulation_wait(["t-1f3"], timeout=float("nan"))
    assert len(server.requests) == 2


# -- answers ---------------------------------------------------------------------------------------


def test_a_plain_error_of_a_dispatch_is_raised(client: Understudy, server: Server) -> None:
    server.status, server.answer = 401, error_body("auth_failed")
    with pytest.raises(AuthFailed, match="This is"):
        client.study_run("s-b2c", sample=1)


@pytest.mark.parametrize("code", sorted(set(errors.ERROR_RULES) - {"wait_timeout"}))
def test_every_code_is_raised_as_its_class(client: Understudy, server: Server, code: str) -> None:
    rule = errors.ERROR_RULES[code]
    server.status, server.answer = rule.http_status, error_body(code)
    with pytest.raises(UnderstudyError) as raised:
        client.participant_get("t-1f3")
    error = raised.value
    assert (error.code, type(error).code, error.rule) == (code, code, rule)
    assert (error.text, error.suggestions) == (f"[{code}] This is [red]{code}[/red].", ("Do this.", "Or that."))


@pytest.mark.parametrize("code", sorted(errors.ERROR_RULES))
def test_a_failed_run_becomes_the_exception_of_its_code(code: str) -> None:
    rule = errors.ERROR_RULES[code]
    run = RunFailure(error_kind=code, error_code=code, error="No.", retryable=rule.retryable, suggestions=["Do this."])
    error = to_error(run)
    assert (error.text, error.suggestions) == (f"[{code}] No.", ("Do this.",))
    assert (error.http_status, error.retryable) == (rule.http_status, rule.retryable)


@pytest.mark.parametrize(("retryable", "exit_code"), [(True, 5), (False, 1)])
def test_an_unknown_code_of_a_newer_server_is_kept(
    client: Understudy, server: Server, retryable: bool, exit_code: int
) -> None:
    server.status = 429
    server.answer = {"error": "Slow.", "error_code": "too_slow", "retryable": retryable, "suggestions": []}
    with pytest.raises(UnknownErrorCode) as raised:
        client.person_list()
    assert raised.value.text == "[too_slow] Slow."
    assert raised.value.rule == (429, retryable, exit_code)


def test_on_answer_gets_the_exact_bytes(server: Server) -> None:
    heard: list[bytes] = []
    server.answer = json.dumps(SUMMARY, indent=3).encode()
    wire = httpx.MockTransport(server)
    with Understudy("http://127.0.0.1:1", "secret", on_answer=heard.append, wire=wire) as client:
        assert isinstance(client.study_get("s-b2c", "summary"), StudySummary), "it ignores a field of a newer server"
        assert client.call("GET", "/v1/studies/s-b2c").body == server.answer
        server.status, server.answer = 404, error_body("not_found")
        with pytest.raises(errors.NotFound):
            client.study_get("s-b2c", "summary")
    assert heard == [json.dumps(SUMMARY, indent=3).encode()] * 2


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (200, b"<html>hello</html>", UnderstudyError),
        (200, {"id": T1}, UnderstudyError),
        (302, b"", UnderstudyError),
        (404, b"<html>nginx</html>", UnderstudyError),
        (500, [], UnderstudyError),
        (502, b"<html>bad gateway</html>", ServiceUnavailable),
        (503, {"detail": "x"}, ServiceUnavailable),
    ],
)
def test_an_answer_of_another_program_is_an_error_that_names_the_server(
    client: Understudy, server: Server, status: int, answer: Any, kind: type[UnderstudyError]
) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(kind, match=r"http://127\.0\.0\.1:1"):
        client.participant_get("t-1f3")


# -- lost answers --------------------------------------------------------------------------------------


def test_an_unreachable_server_is_an_error_that_says_how_to_start_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Understudy(address, "secret") as client, pytest.raises(ServiceUnavailable) as raised:
            client.simulation_extend("t-1f3")
    assert address in str(raised.value)
    assert any("understudy up" in suggestion for suggestion in raised.value.suggestions)
    assert raised.value.rule.retryable


CALLS: dict[str, tuple[bool, Callable[[Understudy], Any]]] = {
    "get": (True, lambda client: client.participant_get("t-1f3")),
    "cancel": (True, lambda client: client.simulation_cancel(study_id="s-b2c")),
    "wait": (True, lambda client: client.simulation_wait(["t-1f3"])),
    "extend with a key": (True, lambda client: client.simulation_extend("t-1f3", idempotency_key="k")),
    "run with a key": (True, lambda client: client.study_run("s-b2c", sample=1, idempotency_key="k")),
    "extend": (False, lambda client: client.simulation_extend("t-1f3")),
    "run": (False, lambda client: client.study_run("s-b2c", sample=1)),
}


@pytest.mark.parametrize("error", [httpx.ReadTimeout(""), httpx.ReadError(""), httpx.RemoteProtocolError("gone")])
@pytest.mark.parametrize(("idempotent", "call"), CALLS.values(), ids=CALLS)
def test_a_lost_answer_is_retryable_only_if_the_call_is_idempotent(
    client: Understudy, server: Server, call: Callable[[Understudy], Any], *, idempotent: bool, error: Exception
) -> None:
    server.answer = error
    with pytest.raises(ServiceUnavailable if idempotent else ResponseLost) as raised:
        call(client)
    assert (raised.value.rule.retryable, raised.value.rule.exit_code) == (idempotent, 5)


def test_a_dispatch_sends_its_idempotency_key(client: Understudy, server: Server) -> None:
    server.answer = DISPATCHED
    client.simulation_extend("t-1f3", idempotency_key="order-4711")
    assert server.request.headers["Idempotency-Key"] == "order-4711"
    client.study_run("s-b2c", sample=1, idempotency_key="k" * 255)
    assert server.request.headers["Idempotency-Key"] == "k" * 255
    client.study_run("s-b2c", sample=1)
    assert "Idempotency-Key" not in server.request.headers


@pytest.mark.parametrize("key", ["", " ", "k ", "a\nb", "schlüssel", "k" * 256])
def test_a_malformed_key_is_refused_before_any_request(client: Understudy, server: Server, key: str) -> None:
    with pytest.raises(ValidationError, match="idempotency_key"):
        client.simulation_extend("t-1f3", idempotency_key=key)
    assert not server.requests


@pytest.mark.parametrize("status", [502, 504])
def test_a_dispatch_is_not_retryable_after_a_proxy_error(client: Understudy, server: Server, status: int) -> None:
    server.status, server.answer = status, b"<html>gateway timeout</html>"
    with pytest.raises(ResponseLost) as raised:
        client.study_run("s-b2c", sample=1)
    assert not raised.value.rule.retryable


# -- server and token ------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["", "localhost:8000", "ftp://host", "http://", "nonsense", "http://[::1"])
def test_a_server_without_a_url_is_refused(server: str) -> None:
    with pytest.raises(ValidationError, match="URL"):
        Understudy(server, "secret")


@pytest.mark.parametrize("token", ["", "two\nlines", "sécret"])
def test_a_malformed_token_is_refused_before_any_request(server: Server, token: str) -> None:
    with (
        Understudy("http://127.0.0.1:1", token, wire=httpx.MockTransport(server)) as client,
        pytest.raises(AuthFailed) as raised,
    ):
        client.person_list()
    assert "token" in str(raised.value)
    assert any("UNDERSTUDY_TOKEN" in suggestion for suggestion in raised.value.suggestions)
    assert not server.requests


def test_health_needs_no_token(server: Server) -> None:
    server.answer = {"status": "ok", "workers": 1, "worker_kinds": {"run": 1}, "problems": []}
    with Understudy("http://127.0.0.1:1", "", wire=httpx.MockTransport(server)) as client:
        assert client.health().worker_kinds == {"run": 1}
    assert "authorization" not in server.request.headers


def test_arguments_override_variables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER", "TOKEN", "DATA_DIR"):
        monkeypatch.delenv(f"UNDERSTUDY_{name}", raising=False)
    assert find_server_address(data_dir=tmp_path) == ("http://127.0.0.1:8000", "")
    (tmp_path / "server").write_text("http://127.0.0.1:8123\n")
    (tmp_path / "token").write_text("from the file\n")
    assert find_server_address(data_dir=tmp_path) == ("http://127.0.0.1:8123", "from the file")
    given = find_server_address("http://127.0.0.1:8000", "given", tmp_path)
    assert given == ("http://127.0.0.1:8000", "given")
    monkeypatch.setenv("UNDERSTUDY_SERVER", "http://elsewhere")
    monkeypatch.setenv("UNDERSTUDY_TOKEN", "from the environment")
    assert find_server_address(data_dir=tmp_path) == ("http://elsewhere", "from the environment")
    monkeypatch.setenv("UNDERSTUDY_SERVER", "")
    monkeypatch.setenv("UNDERSTUDY_TOKEN", "")
    monkeypatch.setenv("UNDERSTUDY_DATA_DIR", str(tmp_path))
    assert find_server_address() == ("http://127.0.0.1:8123", "from the file")


def test_a_client_does_not_read_settings_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_BROKER_URL", "nonsense")
    monkeypatch.setenv("UNDERSTUDY_LEASE_TTL_S", "-1")
    with Understudy("http://127.0.0.1:1", "secret") as client:
        assert client.server == "http://127.0.0.1:1"
    assert find_server_address(data_dir=tmp_path).server == "http://127.0.0.1:8000"


def test_an_unreadable_token_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    with pytest.raises(AuthFailed, match="token"):
        find_server_address(data_dir=tmp_path)


def test_loopback_servers_are_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Understudy("http://localhost:1", "secret") as near, Understudy("http://elsewhere", "secret") as far:
        assert not near._transport.http._mounts
        assert far._transport.http._mounts
