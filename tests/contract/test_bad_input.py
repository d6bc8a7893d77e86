"""Whatever a caller gets wrong: the documented error body, never a 5xx, nothing changed. Contract 1 and 7.

Every POST route is in `good` with a body that it takes; each test spoils these bodies in one way. That all
answers have exactly the documented fields is checked in conftest.
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

from tests.contract.manual_worker import dump_tables, run_to_end
from tests.contract.openapi import ERROR_KEYS, routes
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from understudy.store import workspaces
from understudy.store.engine import Store

MIB = 1024 * 1024
WEB = {"environment": "web", "url": "https://shop.example/"}
ADA = {"name": "Ada", "age": 36, "country": "GB", "language": "en", "bio": "b", "traits": {"patience": 0.5}}

#: For rules that are checked before any store is asked.
one_store = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


class World(NamedTuple):
    """A study with an iteration, two terminal participants, and an ask."""

    study: str
    iteration: str
    ended: str
    other: str
    ask: str


@pytest.fixture
def world(store: Store, acme: ApiClient) -> World:
    study, (iteration,) = make_study(store, acme.workspace_id)
    ended, other = make_participants(store, acme.workspace_id, study, iteration, 2)
    for id_ in (ended, other):
        run_to_end(store, id_, 1)
    ask, _ = make_ask(store, acme.workspace_id, rounds=1)
    return World(str(study), str(iteration), str(ended), str(other), str(ask))


#: The routes whose errors come as a RunStudyResponse.
RUN = "/v1/studies/{study_id}/run"
EXTEND = "/v1/simulations/extend"
EXTEND_ONE = "/v1/participants/{participant_id}/extend"
WAIT = "/v1/simulations/wait"
ASK = "/v1/asks"
ROUND = "/v1/asks/{ask_id}/rounds"
RUN_ROUTES = {RUN, EXTEND, EXTEND_ONE, WAIT, ASK, ROUND}
CANCEL = "/v1/simulations/cancel"
CANCEL_ONE = "/v1/participants/{participant_id}/cancel"
#: These can do without a body.
BODY_OPTIONAL = {EXTEND_ONE, CANCEL_ONE, ROUND}


def good(world: World) -> dict[str, dict[str, Any]]:
    """A body for each POST route that it would take."""
    iteration = {
        "content": WEB,
        "max_interactions": 5,
        "mind": "heuristic",
        "step_timeout": 9.5,
        "run_timeout": 9.5,
    }
    assignment = {"task": "Buy", "success": {"url_contains": "a", "text_contains": "b"}}
    study = {"name": "S", "modality": "interactive", "assignment": assignment, "questions": ["Why?"]}
    options = {"additional_steps": 5, "instruction": "Go on.", "wait": False, "timeout": 1.5}
    return {
        "/v1/studies": study | {"iteration": iteration},
        "/v1/studies/{study_id}/iterations": iteration,
        "/v1/people": ADA,
        RUN: {
            "iteration_id": world.iteration,
            "sample": 1,
            "max_interactions": 5,
            "seed": 1,
            "wait": False,
            "timeout": 1.5,
        },
        ASK: {
            "question": "Which one?",
            "variants": ["This one.", "That one."],
            "sample": 1,
            "max_interactions": 5,
            "mind": "heuristic",
            "step_timeout": 9.5,
            "run_timeout": 9.5,
            "seed": 1,
            "wait": False,
            "timeout": 1.5,
        },
        ROUND: {"question": "And now?", "variants": ["This one."], "seed": 1, "wait": False, "timeout": 1.5},
        CANCEL: {"participant_id": world.ended},
        CANCEL_ONE: {},
        EXTEND: {"participant_id": world.ended} | options,
        EXTEND_ONE: options,
        WAIT: {"participant_ids": [world.ended], "timeout": 1.5},
    }


def path_of(route: str, world: World) -> str:
    return route.format(study_id=world.study, ask_id=world.ask, participant_id=world.ended, slug="concepts/overview")


def send(caller: ApiClient, world: World, route: str, body: bytes | str, **headers: str) -> httpx.Response:
    data = body.encode() if isinstance(body, str) else body
    return caller.http.post(path_of(route, world), content=data, headers=headers)


def check_refusal(answer: httpx.Response, status: int, code: str, where: object) -> None:
    """The documented body and nothing else in it."""
    assert answer.status_code == status, (where, answer.text[:300])
    body = answer.json()
    assert (body["error_code"], body["retryable"]) == (code, False), where
    assert set(body) - {"ok", "error_kind"} == ERROR_KEYS, where
    if "ok" in body:
        assert (body["ok"], body["error_kind"]) == (False, code), where
    for secret in ("Traceback", 'File "', "/work", "site-packages", "sqlalchemy", "psycopg", "SELECT"):
        assert secret not in answer.text, where
    assert len(answer.text) < 2_000, where


class Refused(NamedTuple):
    """Sends bad bodies; at the end nothing may have changed."""

    store: Store
    caller: ApiClient
    world: World
    before: dict[str, list[str]]

    def send(
        self, route: str, body: bytes | str, status: int = 422, code: str = "validation_error", **headers: str
    ) -> httpx.Response:
        answer = send(self.caller, self.world, route, body, **headers)
        check_refusal(answer, status, code, (route, body[:200]))
        assert ("ok" in answer.json()) == (route in RUN_ROUTES)
        return answer


@pytest.fixture
def refused(store: Store, acme: ApiClient, world: World) -> Iterator[Refused]:
    before = dump_tables(store)
    yield Refused(store, acme, world, before)
    assert dump_tables(store) == before


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a body, itself first; not those in which anything goes."""
    if isinstance(value, dict):
        yield value
        for name, item in value.items():
            if name != "traits":
                yield from objects_in(item)


def spoiled(body: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Each field of a body in turn: a copy of the body, the field's object in it, its name and value."""
    for number, part in enumerate(objects_in(body)):
        for name in part:
            fresh = copy.deepcopy(body)
            yield fresh, name, list(objects_in(fresh))[number]


# -- the table ---------------------------------------------------------------------------------------------


def test_the_table_has_every_post_route_and_its_bodies_are_taken(store: Store, acme: ApiClient, world: World) -> None:
    table = good(world)
    assert set(table) == {path for method, path in routes(acme.api) if method == "POST"}
    for route, body in table.items():
        assert acme.post(path_of(route, world), body).status_code in {200, 201, 202}, route


# -- JSON that says something else -------------------------------------------------------------------------


@one_store
def test_an_unknown_field_is_refused_at_any_depth(refused: Refused) -> None:
    for route, body in good(refused.world).items():
        for number, _ in enumerate(objects_in(body)):
            fresh = copy.deepcopy(body)
            list(objects_in(fresh))[number]["surplus"] = 1
            answer = refused.send(route, json.dumps(fresh))
            assert "surplus" in answer.json()["error"]
    refused.send("/v1/people", json.dumps({"people": [ADA | {"surplus": 1}]}))
    refused.send("/v1/people", json.dumps({"generate": 1, "surplus": 1}))


OTHER_TYPES: dict[type, list[Any]] = {
    str: [7, 7.5, True, [], {}, ["a"]],
    int: [7.0, "7", True, [], {}],
    float: ["7", True, [], {}],
    bool: [0, 1, "true", "false", []],
    list: ["a", {}, 7, {"0": "a"}],
    dict: ["a", [], 7, True],
}
#: Null is as good as leaving these out.
OPTIONAL = {
    *("max_interactions", "iteration_id", "seed", "success", "url_contains", "text_contains"),
    *("questions", "iteration", "instruction", "question", "variants"),
}


@one_store
def test_a_field_of_another_type_is_refused(refused: Refused) -> None:
    for route, body in good(refused.world).items():
        for fresh, name, part in spoiled(body):
            value = part[name]
            for other in OTHER_TYPES[type(value)] + ([] if name in OPTIONAL else [None]):
                part[name] = other
                answer = refused.send(route, json.dumps(fresh))
                assert len(answer.json()["error"]) < 1_000


@one_store
def test_a_body_that_is_no_object_is_refused(refused: Refused) -> None:
    for route, body in good(refused.world).items():
        bodies = ["[]", "7", "true", '"text"', json.dumps([body]), json.dumps(json.dumps(body))]
        for text in bodies + ([] if route in BODY_OPTIONAL else ["null", ""]):
            refused.send(route, text)


@one_store
def test_text_that_is_too_long_or_empty_is_refused(refused: Refused) -> None:
    longest = {"name": 200, "country": 64, "mind": 200}
    longest |= dict.fromkeys(("task", "question", "bio", "instruction"), 4_000)
    for route, body in good(refused.world).items():
        for fresh, name, part in spoiled(body):
            if isinstance(part[name], str):
                for text in ("x" * (longest.get(name, 2_000) + 1), "x" * 500_000):
                    part[name] = text
                    refused.send(route, json.dumps(fresh))
                if name not in {"bio", "instruction"}:
                    part[name] = ""
                    refused.send(route, json.dumps(fresh))


@one_store
def test_text_that_no_store_keeps_is_refused_wherever_it_stands(refused: Refused) -> None:
    for route, body in good(refused.world).items():
        for text in (r"\u0000", r"a\u0000b", r"\ud800", r"\udfff\ud800", r"\udc00"):
            for fresh, name, part in spoiled(body):
                part[name] = "<bad>"
                refused.send(route, json.dumps(fresh).replace("<bad>", text))
            refused.send(route, json.dumps(body | {"<bad>": 1}).replace("<bad>", text))
    for text in (r'{"\u0000": 1}', r'{"a": ["\ud800"]}'):
        refused.send("/v1/people", json.dumps(ADA).replace('{"patience": 0.5}', text))


@one_store
def test_numbers_that_are_none_or_that_nothing_holds_are_refused(refused: Refused) -> None:
    statuses = {"NaN": 400, "-Infinity": 400, "1e400": 422, "-1" + "0" * 400: 422, "9" * 5_000: 422}
    statuses |= {str(2**63): 422}
    for route, body in good(refused.world).items():
        for number, status in statuses.items():
            for fresh, name, part in spoiled(body):
                part[name] = "<bad>"
                refused.send(route, json.dumps(fresh).replace('"<bad>"', number), status)
    for number, status in statuses.items():
        refused.send("/v1/people", json.dumps(ADA).replace("0.5", number), status)
        content = json.dumps({"content": {"environment": "scripted", "at": [0.5]}})
        refused.send("/v1/studies/{study_id}/iterations", content.replace("0.5", number), status)


def test_an_id_of_another_kind_or_shape_is_refused(refused: Refused) -> None:
    for wrong in (
        "w-abc",
        "s-abc",
        "x",
        "t-",
        "T-ABC",
        "t-abg",
        "../t-abc",
        "t-abc ",
        "t-" + "a" * 33,
        "a" * 101,
    ):
        for route, body in (
            (EXTEND, {"participant_id": wrong}),
            (WAIT, {"participant_ids": [refused.world.ended, wrong]}),
            (CANCEL, {"participant_id": wrong}),
            (RUN, {"person_ids": [wrong]}),
            (RUN, {"sample": 1, "iteration_id": wrong}),
            (ASK, {"question": "Which?", "variants": ["A"], "person_ids": [wrong]}),
        ):
            refused.send(route, json.dumps(body))


# -- no JSON at all ----------------------------------------------------------------------------------------


@one_store
def test_a_body_that_is_not_json_is_a_400(refused: Refused) -> None:
    texts: list[bytes] = [
        *(b" ", b"{", b"}", b'{"a": 1', b'{"a": 1}}', b"{'a': 1}", b'{"a": 1,}', b"nope", b"\x00", b"// no"),
        *(
            b'{"a": 01}',
            b'{"a": .5}',
            b'{"a": +1}',
            b'{"a": 0x1}',
            b'{"a": "\n"}',
            b'{"a": "\\x"}',
            b"a=1&b=2",
        ),
        *(b'{"a": "\xff"}', b"\xff\xfe", b'{"a": "\xc3"}', b"\x80" * 100, b"<a/>", b'{"a": undefined}'),
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
    ]
    for route in good(refused.world):
        for text in texts:
            refused.send(route, text, 400)


@one_store
def test_a_field_given_twice_is_refused(refused: Refused) -> None:
    for route, body in good(refused.world).items():
        name, value = next(iter(body.items()), ("wait", False))
        text = json.dumps(body)[:-1] + (", " if body else "") + f"{json.dumps(name)}: {json.dumps(value)}"
        refused.send(route, text + "}" if body else text + f', "{name}": false}}')
    refused.send("/v1/people", json.dumps(ADA).replace('"patience": 0.5', '"a": 1, "a": 1'))


@one_store
def test_nesting_without_end_is_refused(refused: Refused) -> None:
    for route in good(refused.world):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            for levels in (65, 10_000, 100_000):
                refused.send(route, opening * levels + "1" + closing * levels)
    deep = '{"a":' * 70 + "1" + "}" * 70
    refused.send("/v1/people", json.dumps(ADA).replace('{"patience": 0.5}', deep))
    # Cut off in the middle it is no JSON either.
    answer = send(refused.caller, refused.world, CANCEL, "[" * 100_000)
    check_refusal(answer, answer.status_code, "validation_error", "open")


@one_store
def test_a_body_over_the_limit_is_a_413(refused: Refused) -> None:
    def in_chunks(size: int) -> Iterator[bytes]:
        for _ in range(size // MIB):
            yield b" " * MIB

    for route in good(refused.world):
        size, most = (17 * MIB, "16 MiB") if route == "/v1/people" else (2 * MIB, "1 MiB")
        answer = refused.send(route, b" " * size, 413)
        assert most in answer.json()["error"]
        path = path_of(route, refused.world)
        check_refusal(refused.caller.http.post(path, content=in_chunks(size)), 413, "validation_error", route)
    one_byte_over = b'{"participant_id": "' + b"a" * (MIB - 21) + b'"}'
    refused.send(CANCEL, one_byte_over, 413)
    refused.send(CANCEL, one_byte_over.replace(b"a", b"", 1), 422)


@one_store
def test_a_body_is_json_whatever_its_content_type_says_and_however_it_is_cut(acme: ApiClient, world: World) -> None:
    body = json.dumps({"participant_id": world.ended})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x", ""):
        answer = send(acme, world, CANCEL, body, **{"Content-Type": content_type})
        assert answer.status_code == 200, content_type
    assert send(acme, world, CANCEL, body.encode("utf-8-sig")).status_code == 200
    pieces = acme.http.post(CANCEL, content=(character.encode() for character in body))
    assert pieces.status_code == 200
    cut = acme.http.post(CANCEL, content=iter([b'{"participant', b'_id": ']))
    check_refusal(cut, 400, "validation_error", "chunked")


# -- paths and queries -------------------------------------------------------------------------------------


@one_store
def test_an_id_in_a_path_may_be_any_garbage(refused: Refused) -> None:
    garbage = [
        "%00",
        "%ff",
        "%ED%A0%80",
        "%F0%9F%90%88",
        "%0a",
        "%20",
        "%25",
        "%27%3B--",
        "t-abc%00",
        "t-abc%0a",
    ]
    garbage += [
        "%2e%2e",
        "x" * 101,
        "x" * 20_000,
        "s-" + "a" * 33,
        "{participant_id}",
        "null",
        "undefined",
        "1",
    ]
    before = dump_tables(refused.store)
    for method, route in routes(refused.caller.api):
        # "null" may well be the slug of a page.
        if route.startswith("/v1/") and "{" in route and "{slug}" not in route:
            head, _, tail = route.replace("{", "}").split("}")
            for bad in garbage:
                answer = refused.caller.http.request(method, head + bad + tail, json=_body_for(route))
                check_refusal(answer, 422, "validation_error", (method, route, bad[:50]))
    assert dump_tables(refused.store) == before


def _body_for(route: str) -> Any:
    return {RUN: {"sample": 1}, ROUND: {}, "/v1/studies/{study_id}/iterations": {"content": WEB}}.get(route)


@one_store
def test_an_unknown_route_is_not_found(refused: Refused) -> None:
    caller, known = refused.caller, refused.world.ended
    for path in (
        *(
            "/",
            "/v1",
            "/v1/",
            "/v2/people",
            "/V1/people",
            "/v1/People",
            "/v1/nope",
            "/v1//people",
            "//v1/people",
        ),
        *("/v1/people/", f"/v1/participants/{known}/", f"/v1/participants/{known}/nope", "/v1/people/a/b"),
        *("/v1/participants/%2F", "/v1/people%3Flimit=1", "/v1/people%00", "/v1/%2e%2e/healthz", "/.env"),
        *("/v1/studies/x%0Ay/walk", "/" + "x" * 20_000, "/v1/participants/../../etc/passwd"),
    ):
        for method in ("GET", "POST", "DELETE"):
            answer = caller.http.request(method, path)
            check_refusal(answer, 404, "not_found", (method, path[:50]))


@one_store
def test_a_wrong_method_is_a_405_that_names_the_right_ones(refused: Refused) -> None:
    documented = routes(refused.caller.api)
    for path in {path for _, path in documented}:
        right = ", ".join(sorted(method for method, known in documented if known == path))
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
            if (method, path) not in documented:
                answer = refused.caller.http.request(
                    method, path_of(path.replace("person_id", "study_id"), refused.world)
                )
                check_refusal(answer, 405, "not_found", (method, path))
                assert answer.headers["allow"] == right
    assert refused.caller.http.head("/v1/people").status_code == 405


@one_store
def test_a_query_parameter_that_is_unknown_or_given_twice_is_refused(refused: Refused) -> None:
    for method, route in routes(refused.caller.api):
        if route.startswith("/v1/"):
            path = path_of(route.replace("person_id", "study_id"), refused.world)
            for query in ("surplus=1", "Limit=1", "%00=1", "%ff=%ff", "x" * 10_000 + "=1"):
                answer = refused.caller.http.request(method, f"{path}?{query}", json=good(refused.world).get(route))
                check_refusal(answer, 422, "validation_error", (method, route, query[:50]))
    for query in ("limit=1&limit=2", "cursor=a&cursor=a", "limit=1&&limit=1"):
        answer = refused.caller.http.get(f"/v1/people?{query}")
        check_refusal(answer, 422, "validation_error", query)


# -- tokens ------------------------------------------------------------------------------------------------


def raw(api: str, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to a request that no client would send."""
    host, port = api.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def test_without_a_token_that_is_known_everything_is_a_401(store: Store, acme: ApiClient, world: World) -> None:
    revoked = store.write(lambda connection: workspaces.create_token(connection, "acme"))
    store.write(lambda connection: workspaces.revoke_token(connection, revoked.id))
    before = dump_tables(store)
    secret = acme.secret
    wrong = [
        None,
        "",
        "Bearer",
        secret,
        f"Basic {secret}",
        "Bearer nope",
        f"Bearer {secret}x",
        f"Bearer {secret} x",
    ]
    wrong += [
        f"Bearer {secret[:-1]}",
        f"Bearer {secret.lower()}",
        f"Bearer {revoked.secret}",
        "Bearer " + "a" * 20_000,
    ]
    with httpx.Client(base_url=acme.api, trust_env=False, verify=False) as stranger:
        for method, route in routes(acme.api):
            path = path_of(route.replace("person_id", "study_id"), world)
            if not route.startswith("/v1/"):
                assert stranger.request(method, path).status_code == 200, path
                continue
            for value in wrong:
                headers = {} if value is None else {"Authorization": value}
                answer = stranger.request(method, path, headers=headers, json=good(world).get(route))
                check_refusal(answer, 401, "auth_failed", (method, route, value and value[:50]))
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert ("ok" in answer.json()) == (method == "POST" and route in RUN_ROUTES)
        # Before anything else is told: what exists, how much may be sent, what is JSON.
        for path, body in (("/v1/nope", b""), ("/v1/people", b"{"), (CANCEL, b" " * 2 * MIB)):
            check_refusal(stranger.post(path, content=body), 401, "auth_failed", path)
    assert dump_tables(store) == before
    assert acme.http.get("/v1/people", headers={"Authorization": f"bearer  {secret}"}).status_code == 200


@one_store
def test_headers_of_any_bytes_do_no_harm(acme: ApiClient) -> None:
    for name, value, status in (
        (b"Authorization", b"Bearer \xff\xfe", b"401"),
        (b"Authorization", b"Bearer \xe2\x82\xac", b"401"),
        *((b"Host", host, b"200") for host in (b"[", b"a/b?c#d", b"\xbd", b"a:99999", b"", b"[::1", b"a b")),
        (b"Content-Type", b"\xff", b"200"),
        (b"X-Request-Id", b"\xff" * 1_000, b"200"),
    ):
        headers = {
            b"Host": b"x",
            b"Authorization": b"Bearer " + acme.secret.encode(),
            b"Connection": b"close",
        }
        lines = [
            b"GET /v1/people HTTP/1.1",
            *(b": ".join(item) for item in (headers | {name: value}).items()),
        ]
        head, body = raw(acme.api, b"\r\n".join(lines) + b"\r\n\r\n")
        assert head.split()[1] == status, (name, value, head)
        assert b"error_code" in body or b"items" in body


@one_store
def test_a_client_that_breaks_off_its_request_changes_nothing_and_breaks_nothing(
    store: Store, acme: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    before = dump_tables(store)
    host, port = acme.api.removeprefix("http://").split(":")
    for sent in (b'{"generate": 1', b""):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /v1/people HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\nAuthorization: Bearer "
                + acme.secret.encode()
                + b"\r\n\r\n"
                + sent
            )
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
    """A server that waits for nobody for long."""
    return api_with(max_wait_s=0.02)


@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_body_whatever_is_a_server_error(acme: ApiClient, world: World, brief: str, data: st.DataObject) -> None:
    for route, body in good(world).items():
        fresh = copy.deepcopy(body)
        part = data.draw(st.sampled_from(list(objects_in(fresh))))
        for _ in range(data.draw(st.integers(0, 2))):
            part[data.draw(st.sampled_from([*part, "surplus"]))] = data.draw(VALUES)
        answer = acme.http.post(brief + path_of(route, world), content=json.dumps(fresh).encode())
        assert answer.status_code < 500, (route, fresh, answer.text)
        anything = acme.http.post(brief + path_of(route, world), content=json.dumps(data.draw(VALUES)).encode())
        assert anything.status_code < 500, (route, anything.text)
