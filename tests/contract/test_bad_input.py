"""Bad input that only plain HTTP can express: bodies that are no JSON, sizes, paths, queries, headers, tokens.

The answer is the documented error, never a 5xx, and nothing changes; conftest checks the fields of all answers.
Input that other interfaces can express too is in parity_table. Contract 1 and 7.
"""

import copy
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.interfaces import ROUTES, Json
from tests.contract.manual_worker import dump_tables
from tests.contract.openapi import ERROR_KEYS, routes
from tests.contract.parity_table import BAD, COMPLETE, filled, make_objects, objects_in, with_one_field
from tests.http_client import ApiClient
from tests.parameters import one_store
from understudy.store import workspaces
from understudy.store.engine import Store

MIB = 1024 * 1024
PEOPLE = "/v1/people"
PERSON = json.dumps(COMPLETE["person_create"])
TRAITS = json.dumps(COMPLETE["person_create"]["traits"])
CANCEL = "/v1/simulations/cancel"
EXTEND_ONE = "/v1/participants/{participant_id}/extend"
CANCEL_ONE = "/v1/participants/{participant_id}/cancel"
ROUND = "/v1/asks/{ask_id}/rounds"
ROTATE = "/v1/webhooks/{webhook_id}/rotate"
ITERATIONS = "/v1/studies/{study_id}/iterations"
PAUSE, RESUME = "/v1/studies/{study_id}/pause", "/v1/studies/{study_id}/resume"

#: POST route -> a body that it accepts.
BODIES: dict[str, Json] = {
    route.removeprefix("POST "): {name: value for name, value in COMPLETE[tool].items() if f"{{{name}}}" not in route}
    for tool, (route, *_) in ROUTES.items()
    if tool in COMPLETE
} | {
    PAUSE: {},
    RESUME: {},
    CANCEL_ONE: {},
    EXTEND_ONE: {"additional_steps": 5, "instruction": "Go on.", "wait": False, "timeout": 600.0},
}
#: Routes of REST that no tool has.
BODIES |= {
    "/v1/webhooks": {"url": "https://93.184.215.14/", "events": ["run.finished"]},
    ROTATE: {},
    "/v1/webhooks/{webhook_id}/replay": {"since": "2026-12-01T09:00:00Z", "status": "dead"},
    "/v1/events/tickets": {"study_id": "<study>"},
}
#: Routes whose errors are a RunStudyResponse.
RUN_ROUTES = {route for route, body in BODIES.items() if "timeout" in body}
#: Routes that need no body.
BODY_OPTIONAL = {EXTEND_ONE, CANCEL_ONE, ROUND, ROTATE, PAUSE, RESUME}


class World(NamedTuple):
    """The ids of the objects that the bodies name."""

    ids: dict[str, UUID]

    def path(self, route: str) -> str:
        ids = {f"{name}_id": self.ids[name] for name in ("study", "ask", "person", "webhook")}
        return route.format(participant_id=self.ids["done"], slug="concepts/overview", **ids)

    def body(self, route: str) -> Any:
        return filled(BODIES.get(route), self.ids)


@pytest.fixture
def world(store: Store, acme: ApiClient) -> World:
    webhook = UUID(acme.post("/v1/webhooks", {"url": "https://93.184.215.14/"}).json()["id"])
    return World(make_objects(store, acme.workspace_id) | {"person": UUID(int=0), "webhook": webhook})


def check_refusal(answer: httpx.Response, status: int, where: object, *, code: str = BAD, says: str = "") -> None:
    """The documented body and nothing else in it."""
    assert answer.status_code == status, (where, answer.text[:300])
    body = answer.json()
    # Over MCP the body is in the error of JSON-RPC.
    body = body["error"]["data"] if "jsonrpc" in body else body
    assert (body["error_code"], body["retryable"], says in body["error"]) == (code, False, True), where
    assert set(body) - {"ok", "error_kind"} == ERROR_KEYS, where
    if "ok" in body:
        assert (body["ok"], body["error_kind"]) == (False, code), where
    for secret in ("Traceback", 'File "', "/work", "site-packages", "sqlalchemy", "psycopg", "SELECT"):
        assert secret not in answer.text, where
    assert len(answer.text) < 2_000, where


class Sender(NamedTuple):
    """Sends bad requests; at the end nothing may have changed."""

    caller: ApiClient
    world: World

    def post(self, route: str, body: Any, status: int = 422, *, says: str = "") -> None:
        """Sends a body as it is."""
        content = body.encode() if isinstance(body, str) else body
        answer = self.caller.http.post(self.world.path(route), content=content)
        check_refusal(answer, status, (route, str(body)[:200]), says=says)
        assert ("ok" in answer.json()) == (route in RUN_ROUTES)

    def request(self, method: str, path: str, status: int, *, code: str = BAD, body: Any = None) -> httpx.Response:
        answer = self.caller.http.request(method, path, json=body)
        check_refusal(answer, status, (method, path[:200]), code=code)
        return answer


@pytest.fixture
def sender(store: Store, acme: ApiClient, world: World) -> Iterator[Sender]:
    before = dump_tables(store)
    yield Sender(acme, world)
    assert dump_tables(store) == before


def test_every_post_route_has_a_body_here_that_it_accepts(acme: ApiClient, world: World) -> None:
    assert set(BODIES) == {path for method, path in routes(acme.api) if method == "POST"}
    accepted = {route: acme.post(world.path(route), world.body(route)).is_success for route in BODIES}
    assert accepted == dict.fromkeys(BODIES, True)


# -- JSON with values that no store keeps ------------------------------------------------------------------


@one_store
def test_a_body_that_is_no_object_is_refused(sender: Sender) -> None:
    for route, body in BODIES.items():
        bodies = ["[]", "7", "true", '"text"', json.dumps([body]), json.dumps(json.dumps(body))]
        for text in bodies + ([] if route in BODY_OPTIONAL else ["null", ""]):
            sender.post(route, text)


def bodies_with(text: str) -> Iterator[tuple[str, str]]:
    """Each field of each body in turn with this JSON as its value."""
    for route, body in BODIES.items():
        for fresh, part, name in with_one_field(body):
            part[name] = "<bad>"
            yield route, json.dumps(fresh).replace('"<bad>"', text)


@one_store
@pytest.mark.parametrize("text", [r"\u0000", r"a\u0000b", r"\ud800", r"\udfff\ud800", r"\udc00"])
def test_a_nul_or_a_lone_surrogate_is_refused_wherever_it_stands(sender: Sender, text: str) -> None:
    for route, body in bodies_with(f'"{text}"'):
        sender.post(route, body)
    for route, body in BODIES.items():
        sender.post(route, json.dumps(body | {"<bad>": 1}).replace("<bad>", text))
    for traits in (f'{{"{text}": 1}}', f'{{"a": ["{text}"]}}'):
        sender.post(PEOPLE, PERSON.replace(TRAITS, traits))


@one_store
@pytest.mark.parametrize(
    ("number", "status"),
    [("NaN", 400), ("-Infinity", 400), ("1e400", 422), ("-1" + "0" * 400, 422), ("9" * 5_000, 422), (str(2**63), 422)],
    ids=["nan", "infinity", "large-exponent", "400-digits", "5000-digits", "65-bits"],
)
def test_a_number_that_no_store_keeps_is_refused(sender: Sender, number: str, status: int) -> None:
    for route, body in bodies_with(number):
        sender.post(route, body, status)
    sender.post(PEOPLE, PERSON.replace("0.25", number), status)
    sender.post(ITERATIONS, f'{{"content": {{"environment": "scripted", "at": [{number}]}}}}', status)


# -- no JSON at all ----------------------------------------------------------------------------------------

NOT_JSON = [
    *(b" ", b"{", b"}", b'{"a": 1', b'{"a": 1}}', b"{'a': 1}", b'{"a": 1,}', b"nope", b"\x00", b"// no"),
    *(b'{"a": 01}', b'{"a": .5}', b'{"a": +1}', b'{"a": 0x1}', b'{"a": "\n"}', b'{"a": "\\x"}', b"a=1&b=2"),
    *(b'{"a": "\xff"}', b"\xff\xfe", b'{"a": "\xc3"}', b"\x80" * 100, b"<a/>", b'{"a": undefined}'),
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
]


@one_store
def test_a_body_that_is_not_json_is_a_400(sender: Sender) -> None:
    for route in BODIES:
        for text in NOT_JSON:
            sender.post(route, text, 400)


@one_store
def test_a_field_given_twice_is_refused(sender: Sender) -> None:
    for route, body in BODIES.items():
        name, value = next(iter(body.items()), ("wait", False))
        field = f"{json.dumps(name)}: {json.dumps(value)}"
        sender.post(route, f"{{{field}, {field}}}")
    sender.post(PEOPLE, PERSON.replace(TRAITS, '{"a": 1, "a": 1}'))


@one_store
def test_nesting_without_end_is_refused(sender: Sender) -> None:
    for route in BODIES:
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            for levels in (65, 10_000, 100_000):
                sender.post(route, opening * levels + "1" + closing * levels)
    sender.post(PEOPLE, PERSON.replace(TRAITS, '{"a":' * 70 + "1" + "}" * 70))
    # A body that ends in the middle of its nesting is either no JSON or too deep.
    answer = sender.caller.http.post(CANCEL, content=b"[" * 100_000)
    check_refusal(answer, answer.status_code, "open")


@one_store
def test_a_body_over_the_limit_is_a_413(sender: Sender) -> None:
    for route in BODIES:
        size, limit = (17 * MIB, "16 MiB") if route == PEOPLE else (2 * MIB, "1 MiB")
        sender.post(route, b" " * size, 413, says=limit)
        sender.post(route, (b" " * MIB for _ in range(size // MIB)), 413)
    one_byte_over = b'{"participant_id": "' + b"a" * (MIB - 21) + b'"}'
    sender.post(CANCEL, one_byte_over, 413)
    sender.post(CANCEL, one_byte_over.replace(b"a", b"", 1), 422)


@one_store
def test_a_length_over_the_limit_is_a_413_before_the_body_is_sent(acme: ApiClient) -> None:
    host, port = acme.api.removeprefix("http://").split(":")
    for path in (CANCEL, PEOPLE, "/mcp"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nAuthorization: Bearer {acme.secret}"
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 413")


@one_store
def test_a_body_is_json_whatever_its_content_type_says_and_however_it_is_split(acme: ApiClient, world: World) -> None:
    body = json.dumps(world.body(CANCEL)).encode()
    types = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x", "")
    statuses = {one: acme.http.post(CANCEL, content=body, headers={"Content-Type": one}).status_code for one in types}
    assert statuses == dict.fromkeys(types, 200)
    assert acme.http.post(CANCEL, content=b"\xef\xbb\xbf" + body).status_code == 200
    assert acme.http.post(CANCEL, content=(bytes([byte]) for byte in body)).status_code == 200
    check_refusal(acme.http.post(CANCEL, content=iter([b'{"participant', b'_id": '])), 400, "chunked")


# -- paths and queries -------------------------------------------------------------------------------------

NO_IDS = [
    *("%00", "%ff", "%ED%A0%80", "%F0%9F%90%88", "%0a", "%20", "%25", "%27%3B--", "t-abc%00", "t-abc%0a", "%2e%2e"),
    *("x" * 101, "x" * 20_000, "s-" + "a" * 33, "{participant_id}", "null", "undefined", "1"),
]


@one_store
def test_any_text_in_place_of_an_id_in_a_path_is_refused(sender: Sender) -> None:
    for method, route in routes(sender.caller.api):
        # "null" can be the slug of a page.
        if "{" in route and "{slug}" not in route:
            head, _, tail = route.replace("{", "}").split("}")
            for text in NO_IDS:
                sender.request(method, head + text + tail, 422, body=sender.world.body(route))


@one_store
def test_an_unknown_route_is_not_found(sender: Sender) -> None:
    done = sender.world.ids["done"]
    for path in (
        *("/", "/v1", "/v1/", "/v2/people", "/V1/people", "/v1/People", "/v1/nope", "/v1//people", "//v1/people"),
        *("/v1/people/", f"/v1/participants/{done}/", f"/v1/participants/{done}/nope", "/v1/people/a/b"),
        *("/v1/participants/%2F", "/v1/people%3Flimit=1", "/v1/people%00", "/v1/%2e%2e/healthz", "/.env"),
        *("/v1/studies/x%0Ay/walk", "/" + "x" * 20_000, "/v1/participants/../../etc/passwd"),
    ):
        for method in ("GET", "POST", "DELETE"):
            sender.request(method, path, 404, code="not_found")


@one_store
def test_a_wrong_method_is_a_405_that_names_the_right_ones(sender: Sender) -> None:
    documented = routes(sender.caller.api)
    methods = {path: sorted(method for method, known in documented if known == path) for _, path in documented}
    wrong = [
        (method, path)
        for path, right in methods.items()
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"} - set(right)
    ]
    allowed = {
        (method, path): sender.request(method, sender.world.path(path), 405, code="not_found").headers["allow"]
        for method, path in wrong
    }
    # Load balancers probe with HEAD.
    head = ("/healthz", "/readyz")
    assert allowed == {
        (method, path): ", ".join([*methods[path], *(["HEAD"] if path in head else [])]) for method, path in wrong
    }
    statuses = {path: httpx.head(sender.caller.api + path).status_code for path in head}
    assert statuses == dict.fromkeys(head, 200)
    assert sender.caller.http.head(PEOPLE).status_code == 405


@one_store
def test_a_query_parameter_that_is_unknown_or_given_twice_is_refused(sender: Sender) -> None:
    for method, route in routes(sender.caller.api):
        if route.startswith("/v1/"):
            for query in ("surplus=1", "Limit=1", "%00=1", "%ff=%ff", "x" * 10_000 + "=1"):
                path = f"{sender.world.path(route)}?{query}"
                sender.request(method, path, 422, body=sender.world.body(route))
    for query in ("limit=1&limit=2", "cursor=a&cursor=a", "limit=1&&limit=1"):
        sender.request("GET", f"{PEOPLE}?{query}", 422)


# -- tokens and headers ------------------------------------------------------------------------------------


@one_store
def test_without_a_valid_token_every_route_is_a_401(store: Store, acme: ApiClient, world: World) -> None:
    revoked = store.write(lambda connection: workspaces.create_token(connection, "acme"))
    store.write(lambda connection: workspaces.revoke_token(connection, revoked.id))
    before = dump_tables(store)
    secret = acme.secret
    headers: list[dict[str, str]] = [{}] + [
        {"Authorization": value}
        for value in (
            *("", "Bearer", secret, f"Basic {secret}", "Bearer nope", f"Bearer {secret}x", f"Bearer {secret} x"),
            *(f"Bearer {other}" for other in (secret[:-1], secret.lower(), revoked.secret, "a" * 20_000)),
        )
    ]

    def check_401(answer: httpx.Response, *, run_response: bool) -> None:
        check_refusal(answer, 401, (answer.request.url.path, answer.request.headers), code="auth_failed")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert ("ok" in answer.json()) == run_response

    with httpx.Client(base_url=acme.api, trust_env=False, verify=False) as stranger:
        for method, route in routes(acme.api):
            for header in headers if route.startswith("/v1/") else ():
                answer = stranger.request(method, world.path(route), headers=header, json=world.body(route))
                check_401(answer, run_response=method == "POST" and route in RUN_ROUTES)
        # The token is checked first: before the route, the size and the JSON.
        for path, body in (("/v1/nope", b""), (PEOPLE, b"{"), (CANCEL, b" " * 2 * MIB)):
            check_401(stranger.post(path, content=body), run_response=False)
        public = [path for _, path in routes(acme.api) if not path.startswith("/v1/")]
        assert {path: stranger.get(path).status_code for path in public} == dict.fromkeys(public, 200)
    assert dump_tables(store) == before
    assert acme.http.get(PEOPLE, headers={"Authorization": f"bearer  {secret}"}).status_code == 200


@one_store
@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (b"Authorization", b"Bearer \xff\xfe", b"401"),
        (b"Authorization", b"Bearer \xe2\x82\xac", b"401"),
        *((b"Host", host, b"200") for host in (b"[", b"a/b?c#d", b"\xbd", b"a:99999", b"", b"[::1", b"a b")),
        (b"Content-Type", b"\xff", b"200"),
        (b"X-Request-Id", b"\xff" * 1_000, b"200"),
    ],
)
def test_headers_of_any_bytes_do_no_harm(acme: ApiClient, name: bytes, value: bytes, status: bytes) -> None:
    headers = {b"Host": b"x", b"Authorization": b"Bearer " + acme.secret.encode(), b"Connection": b"close"}
    lines = [b"GET /v1/people HTTP/1.1", *(b": ".join(item) for item in (headers | {name: value}).items())]
    host, port = acme.api.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        head, _, body = b"".join(iter(lambda: connection.recv(65_536), b"")).partition(b"\r\n\r\n")
    assert head.split()[1] == status, head
    assert b"error_code" in body or b"items" in body


@one_store
def test_a_client_that_breaks_off_its_request_changes_nothing_and_breaks_nothing(
    store: Store, acme: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    before = dump_tables(store)
    host, port = acme.api.removeprefix("http://").split(":")
    head = b"POST /v1/people HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\nAuthorization: Bearer "
    for sent in (b'{"generate": 1', b""):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + acme.secret.encode() + b"\r\n\r\n" + sent)
    assert acme.get("/v1/people").status_code == 200
    assert dump_tables(store) == before
    assert "Traceback" not in caplog.text


# -- anything at all ---------------------------------------------------------------------------------------

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63 - 1, 2**63, 1e308, 1.0])
TEXTS = st.text(max_size=20) | st.sampled_from(["", "t-abc", "s-abc", "tp-abc", "web", "chat", str(UUID(int=0))])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def brief(api_with: Callable[..., str]) -> str:
    """A server on which a wait ends soon."""
    return api_with(max_wait_s=0.02)


@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_body_is_a_server_error(acme: ApiClient, world: World, brief: str, data: st.DataObject) -> None:
    for route in BODIES:
        fresh = copy.deepcopy(world.body(route))
        part = data.draw(st.sampled_from(list(objects_in(fresh))))
        for _ in range(data.draw(st.integers(0, 2))):
            part[data.draw(st.sampled_from([*part, "surplus"]))] = data.draw(VALUES)
        for body in (fresh, data.draw(VALUES)):
            answer = acme.http.post(brief + world.path(route), content=json.dumps(body).encode())
            assert answer.status_code < 500, (route, body, answer.text)
