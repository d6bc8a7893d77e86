"""The chat environment: against the demo chatbot, and against one that misbehaves in every way it can."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.servers import serve_in_thread
from understudy.deploy.chatbot.app import create_chatbot
from understudy.domain.simulation import Action, Observation
from understudy.environments import EnvironmentUnreachable
from understudy.environments import chatbot_client as bot_module
from understudy.environments.chat import KEPT_CHARS, MAX_REPLY_LENGTH, VIEW_CHARS, ChatEnvironment
from understudy.plugins.secrets import Secrets

KEY = "sk-very-secret-0123"


class Odd:
    """A bot that does what the path says, and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.gone = 0
        self._body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive()).get("more_body") or message["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["path"]
        self._body = body
        self.requests.append((path, headers, json.loads(body) if body else None))
        if path == "/hang":
            await receive()
            self.gone += 1
            return
        status, extra, answer = self._answer(path, headers)
        await send({"type": "http.response.start", "status": status, "headers": extra})
        if path == "/drip":
            for _ in range(1_000):
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
                await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, path: str, headers: dict[str, str]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:  # noqa: PLR0912
        said = json.dumps({"text": "Hello \ud800 there\x00"}).encode()
        times = sum(1 for other, _, _ in self.requests if other == path)
        match path:
            case "/busy-once":
                return (429, [(b"retry-after", b"0")], b"") if times == 1 else (200, [], said)
            case "/busy":
                return 503, [(b"retry-after", b"0")], b"come back later"
            case "/moved":
                return 308, [(b"location", b"/ok")], b""
            case "/found":
                return 302, [(b"location", b"/ok")], b""
            case "/away":
                return 307, [(b"location", b"http://localhost:1/")], b""
            case "/circle":
                return 307, [(b"location", b"/circle")], b""
            case "/error":
                return 500, [], f"no: {headers.get('authorization')}".encode()
            case "/echo":
                return 200, [], json.dumps({"text": f"You are {headers['authorization']}"}).encode()
            case "/echo-names":
                return 200, [], json.dumps({headers["authorization"]: 1}).encode()
            case "/session":
                told = json.loads(self._body).get("conversation")
                return 200, [], json.dumps({"text": f"No {told}", "at": {"id": told or times}}).encode()
            case "/session-key":
                return 200, [], json.dumps({"text": "Hi", "at": {"id": headers["authorization"]}}).encode()
            case "/html":
                return 200, [(b"content-type", b"text/html")], b"<p>Hi</p>"
            case "/number":
                return 200, [], b'{"text": 7}'
            case "/silent":
                return 200, [], b'{"text": "  "}'
            case "/long":
                return 200, [], json.dumps({"text": "x" * 100_000}).encode()
            case "/bomb":
                zipped = gzip.compress(b'{"text": "' + b"x" * 30_000_000 + b'"}')
                return 200, [(b"content-encoding", b"gzip")], zipped
            case "/deep":
                return 200, [], b"[" * 100_000
            case "/garbled":
                return 200, [(b"content-encoding", b"gzip")], b"no gzip"
            case _:
                return 200, [], said


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Odd, str]]:
    odd = Odd()
    with serve_in_thread(odd) as url:
        yield odd, url


@pytest.fixture
def odd(served: tuple[Odd, str]) -> Odd:
    served[0].requests.clear()
    return served[0]


def own(url: str, **more: Any) -> dict[str, Any]:
    return {
        "environment": "chat",
        "url": url,
        "protocol": "json",
        "request": {"text": "{message}", "conversation": "{conversation_id}"},
        "response_path": "text",
    } | more


def knowing(*origins: str) -> Secrets:
    """As a worker knows them: by a file."""
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"bot": {"value": f"Bearer {KEY}", "origins": list(origins)}}, file)
        file.flush()
        return Secrets.load(file.name)


def talk(
    content: dict[str, Any],
    *messages: str,
    before: Any = None,
    private: bool = True,
    secrets: Secrets | None = None,
    then: Callable[[ChatEnvironment], Awaitable[None]] | None = None,
) -> tuple[list[Observation], Any]:
    """Say these; what was seen after each, and the snapshot as it comes out of the store."""

    async def go() -> tuple[list[Observation], Any]:
        environment = ChatEnvironment(content, allow_private_hosts=private, secrets=secrets)
        try:
            await (environment.restore(before) if before else environment.open())
            seen = [environment.observe()]
            for message in messages:
                await environment.act(Action("say", value=message))
                seen.append(environment.observe())
            if then is not None:
                await then(environment)
                seen.append(environment.observe())
            return seen, json.loads(json.dumps(environment.snapshot()))
        finally:
            await environment.close()

    return asyncio.run(go())


# -- conversations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["json", "openai"])
def test_a_conversation_goes_on_where_it_was_by_id_or_by_being_told_again(protocol: str) -> None:
    app = create_chatbot()
    with serve_in_thread(app) as url:
        content = {"environment": "chat", "url": f"{url}/v1", "protocol": "openai"}
        if protocol == "json":
            content = own(f"{url}/chat", response_path="reply.text")
            content["request"] = {"conversation": "{conversation_id}", "text": "{message}"}
        seen, snapshot = talk(content, "My name is Ada Byron. How long is shipping?", "And gift wrapping?")
        assert seen[0].news == ""
        assert "three days" in str(seen[1].news)
        assert "You: And gift wrapping?" in seen[2].text
        restored, _ = talk(content, before=snapshot)
        assert restored[0] == seen[2]
        (_, last), _ = talk(content, "What do you remember?", before=snapshot)
        assert last.news == "This is message 3 of Ada Byron. We talked about: shipping, gift wrapping."
        assert len(app.state.conversations) == (1 if protocol == "json" else 0)


def test_a_conversation_has_the_id_that_the_bot_gave_it(served: tuple[Odd, str], odd: Odd) -> None:
    content = own(f"{served[1]}/session", conversation_path="at.id")
    seen, snapshot = talk(content, "one", "two")
    assert [one.news for one in seen] == ["", "No None", "No 1"]
    talk(content, "three", before=snapshot)
    assert [body["conversation"] for _, _, body in odd.requests] == [None, 1, 1]


def test_what_is_no_message_is_a_problem_and_sends_nothing(served: tuple[Odd, str], odd: Odd) -> None:
    async def try_it(environment: ChatEnvironment) -> None:
        for action in (
            Action("say"),
            Action("say", value="  "),
            Action("say", value="x" * 4_001),
            Action("fill"),
        ):
            await environment.act(action)
            assert environment.observe().problem
        await environment.act(Action("wait"))
        assert not environment.observe().problem

    seen, _ = talk(own(f"{served[1]}/ok"), then=try_it)
    assert odd.requests == []
    assert seen[-1].news == ""


def test_replies_are_bounded_and_can_be_stored(served: tuple[Odd, str], odd: Odd) -> None:
    content = own(f"{served[1]}/long", request={"all": "{history}"})
    seen, snapshot = talk(content, *(f"m{number}" for number in range(20)))
    assert len(str(seen[-1].news)) == MAX_REPLY_LENGTH
    assert len(json.dumps(snapshot)) < KEPT_CHARS + 10_000
    assert snapshot["said"][0]["role"] == "user"
    assert snapshot["said"][-2]["content"] == "m19"
    _, by_id = talk(own(f"{served[1]}/long"), *(f"m{number}" for number in range(5)))
    assert len(json.dumps(by_id)) < VIEW_CHARS + 10_000
    (_, odd_text), _ = talk(own(f"{served[1]}/ok"), "hi")
    assert odd_text.news == "Hello  there"
    (_, silent), _ = talk(own(f"{served[1]}/silent"), "hi")
    assert (silent.news, bool(silent.problem)) == ("", True)


def test_a_busy_bot_is_asked_again_and_a_moved_one_followed(served: tuple[Odd, str], odd: Odd) -> None:
    for path in ("/busy-once", "/moved"):
        (_, seen), _ = talk(own(f"{served[1]}{path}"), "hi")
        assert seen.status == 200
    paths = [path for path, _, _ in odd.requests]
    assert paths == ["/busy-once", "/busy-once", "/moved", "/ok"]
    assert {body["text"] for _, _, body in odd.requests} == {"hi"}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/busy", r"503 \(come back later\)"),
        ("/found", "would be lost"),
        ("/away", "could not be reached"),
        ("/circle", "too many redirects"),
        ("/error", "answers with an error: 500"),
        ("/html", r"not JSON \(<p>Hi</p>\)"),
        ("/number", "is not text: it is a number"),
        ("/bomb", "more than 1,048,576 bytes"),
        ("/deep", "not JSON"),
        ("/garbled", "can't be unpacked"),
        ("/hang", r"did not reply within 0\.3 s"),
        ("/drip", r"did not reply within 0\.3 s"),
    ],
)
def test_whatever_goes_wrong_is_told_and_ends_it(
    served: tuple[Odd, str], odd: Odd, path: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot_module, "_PAUSE_S", 0.0)
    patience = 0.3 if path in {"/hang", "/drip"} else 30
    with pytest.raises(EnvironmentUnreachable, match=told):
        talk(own(f"{served[1]}{path}", reply_timeout=patience), "hi")


def test_nobody_there_and_places_that_must_not_be_visited() -> None:
    for url, private, told in (
        ("http://127.0.0.1:1/", True, "could not be reached"),
        ("http://127.0.0.1:1/", False, "must not be visited"),
        ("http://[::ffff:127.0.0.1]:1/", False, "must not be visited"),
        ("ftp://bot.example/", True, "neither http nor https"),
    ):
        with pytest.raises(EnvironmentUnreachable, match=told):
            talk(own(url), "hi", private=private)


def test_a_redirect_does_not_lead_to_where_one_must_not_go(served: tuple[Odd, str], odd: Odd) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def go() -> None:
        environment = ChatEnvironment(own("http://bot.example/"), allow_private_hosts=False, resolver=resolver)
        await environment.open()
        with pytest.raises(EnvironmentUnreachable, match="must not be visited"):
            await environment.act(Action("say", value="hi"))
        await environment.close()

    asyncio.run(go())
    assert odd.requests == []


def test_a_message_cut_off_in_mid_air_leaves_everything_as_it_was(served: tuple[Odd, str], odd: Odd) -> None:
    async def cut(environment: ChatEnvironment) -> None:
        before = environment.snapshot()
        saying = asyncio.create_task(environment.act(Action("say", value="hi")))
        while not odd.requests:  # noqa: ASYNC110 - the server is on another loop
            await asyncio.sleep(0.01)
        saying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saying
        assert environment.snapshot() == before
        while not odd.gone:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    odd.gone = 0
    talk(own(f"{served[1]}/hang"), then=cut)
    assert odd.gone == 1, "the bot sees the connection close"


# -- secrets -----------------------------------------------------------------------------------------------

SECRET = {"headers": {"Authorization": {"secret": "bot"}, "X-Team": "mugs"}}


def test_a_secret_is_sent_where_it_belongs_and_told_nowhere(served: tuple[Odd, str], odd: Odd) -> None:
    url = served[1]
    secrets = knowing(url)
    (_, seen), snapshot = talk(own(f"{url}/echo", **SECRET), "hi", secrets=secrets)
    assert odd.requests[0][1]["authorization"] == f"Bearer {KEY}"
    assert odd.requests[0][1]["x-team"] == "mugs"
    assert seen.news == "You are [secret]"
    told = [json.dumps(snapshot), repr(seen)]
    for path, more in (
        ("/error", {}),
        ("/echo-names", {}),
        ("/session-key", {"conversation_path": "at.id"}),
    ):
        with pytest.raises(EnvironmentUnreachable) as failed:
            talk(own(f"{url}{path}", **SECRET, **more), "hi", secrets=secrets)
        told += [str(failed.value), repr(failed.value)]
    assert not any(KEY in text for text in told), told


@pytest.mark.parametrize(
    ("origins", "path", "told"),
    [
        ((), "/ok", "no secret 'bot'"),
        (("https://bot.example",), "/ok", "must not be sent to"),
        (None, "/away", "must not"),
    ],
)
def test_without_the_right_to_a_secret_nothing_is_sent(
    served: tuple[Odd, str], odd: Odd, origins: tuple[str, ...] | None, path: str, told: str
) -> None:
    """Not known, not for this place, and not for where the place sends one."""
    allowed = (served[1],) if origins is None else origins
    secrets = knowing(*allowed) if allowed else Secrets()
    with pytest.raises(EnvironmentUnreachable, match=told):
        talk(own(f"{served[1]}{path}", **SECRET), "hi", secrets=secrets)
    assert len(odd.requests) == (1 if origins is None else 0)
