"""The chat environment with the demo chatbot, and with one that misbehaves in every way it can."""

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from tests.environments import act, stored, use
from tests.servers import serve_in_thread, wait_until
from understudy.deploy.chatbot.app import create_chatbot
from understudy.deploy.owner_only_files import write_private
from understudy.domain.simulation import Action, Observation
from understudy.environments import EnvironmentUnreachable, chatbot_client
from understudy.environments.chat import KEPT_CHARS, MAX_REPLY_LENGTH, VIEW_CHARS, ChatEnvironment
from understudy.plugins.allowed_workspaces import Workspace
from understudy.plugins.secrets import RunSecrets, Secrets

KEY = "sk-very-secret-0123"


REPLY = json.dumps({"text": "Hello \ud800 there\x00"}).encode()
PACKED = [(b"content-encoding", b"gzip")]
BOMB = gzip.compress(b'{"text": "' + b"x" * 30_000_000 + b'"}')
#: path -> status, headers, body
ANSWERS: dict[str, tuple[int, list[tuple[bytes, bytes]], bytes]] = {
    "/busy": (503, [(b"retry-after", b"0")], b"come back later"),
    "/moved": (308, [(b"location", b"/ok")], b""),
    "/found": (302, [(b"location", b"/ok")], b""),
    "/leak": (302, [(b"location", b"/yek-terces")], b""),
    "/refuse": (403, [], b"yek-terces"),
    "/names": (200, [], b'{"yek-terces": 1}'),
    "/words": (200, [], b"yek-terces"),
    "/away": (307, [(b"location", b"http://localhost:1/")], b""),
    "/circle": (307, [(b"location", b"/circle")], b""),
    "/html": (200, [(b"content-type", b"text/html")], b"<p>Hi</p>"),
    "/number": (200, [], b'{"text": 7}'),
    "/silent": (200, [], b'{"text": "  "}'),
    "/long": (200, [], json.dumps({"text": "x" * 100_000}).encode()),
    "/bomb": (200, PACKED, BOMB),
    "/deep": (200, [], b"[" * 100_000),
    "/garbled": (200, PACKED, b"no gzip"),
}


class Bot:
    """A chatbot that does what the path says, and records its requests."""

    url = ""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.disconnects = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path, body = scope["path"], await request.json()
        self.requests.append((path, dict(request.headers), body))
        if path == "/hang":
            await receive()
            self.disconnects += 1
            return
        status, headers, answer = ANSWERS.get(path) or self._answer(path, request.headers.get("authorization"), body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for _ in range(1_000 if path == "/drip" else 0):
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, path: str, secret: str | None, body: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        count = [other for other, _, _ in self.requests].count(path)
        if path == "/busy-once" and count == 1:
            return 429, [(b"retry-after", b"0")], b""
        if path == "/error":
            return 500, [], f"no: {secret}".encode()
        answers: dict[str, Any] = {
            "/echo": {"text": f"You are {secret}"},
            "/echo-names": {secret: 1},
            "/session": {"text": f"No {body.get('conversation')}", "at": {"id": body.get("conversation") or count}},
            "/session-key": {"text": "Hi", "at": {"id": secret}},
        }
        return 200, [], json.dumps(answers[path]).encode() if path in answers else REPLY


@pytest.fixture(scope="module")
def served() -> Iterator[Bot]:
    made = Bot()
    with serve_in_thread(made) as made.url:
        yield made


@pytest.fixture
def bot(served: Bot) -> Bot:
    served.requests.clear()
    return served


def own(url: str, **more: Any) -> dict[str, Any]:
    request = {"text": "{message}", "conversation": "{conversation_id}"}
    return {"environment": "chat", "url": url, "protocol": "json", "request": request, "response_path": "text"} | more


@pytest.fixture
def secrets_for(tmp_path: Path) -> Callable[..., RunSecrets]:
    """Reads a file with one secret for these origins, as a worker does for a run of the workspace acme."""

    def load(*origins: str) -> RunSecrets:
        place = {"workspaces": ["acme"], "header": "Authorization", "path_prefix": "/", "origins": origins}
        write_private(tmp_path / "secrets.json", json.dumps({"bot": {"value": f"Bearer {KEY}"} | place}))
        return Secrets.load(str(tmp_path / "secrets.json")).for_run(Workspace(name="acme"))

    return load


def talk(
    content: dict[str, Any], *messages: str, snapshot: Any = None, private: bool = True, **settings: Any
) -> tuple[list[Observation], Any]:
    """Says the messages; what was seen before the first and after each, and the snapshot."""

    async def scene(environment: ChatEnvironment) -> tuple[list[Observation], Any]:
        seen = [environment.observe()]
        seen += [await act(environment, "say", value=message) for message in messages]
        return seen, stored(environment.snapshot())

    environment = ChatEnvironment(content, allow_private_hosts=private, **settings)
    return asyncio.run(use(environment, scene, snapshot))


# -- conversations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["json", "openai"])
def test_restored_conversation_continues_by_id_or_by_its_history(protocol: str) -> None:
    app = create_chatbot()
    with serve_in_thread(app) as url:
        content = {"environment": "chat", "url": f"{url}/v1", "protocol": "openai"}
        if protocol == "json":
            content = own(f"{url}/chat", response_path="reply.text")
        seen, snapshot = talk(content, "My name is Ada Byron. How long is shipping?", "And gift wrapping?")
        assert seen[0].news == ""
        assert "three days" in str(seen[1].news)
        assert "You: And gift wrapping?" in seen[2].text
        (restored, last), _ = talk(content, "What do you remember?", snapshot=snapshot)
        assert restored == seen[2]
        assert last.news == "This is message 3 of Ada Byron. We talked about: shipping, gift wrapping."
        assert len(app.state.conversations) == (1 if protocol == "json" else 0)


def test_conversation_keeps_the_id_that_the_bot_gives_it(bot: Bot) -> None:
    content = own(f"{bot.url}/session", conversation_path="at.id")
    seen, snapshot = talk(content, "one", "two")
    assert [one.news for one in seen] == ["", "No None", "No 1"]
    talk(content, "three", snapshot=snapshot)
    assert [body["conversation"] for _, _, body in bot.requests] == [None, 1, 1]


@pytest.mark.parametrize(
    ("action", "is_problem"),
    [
        (Action("say"), True),
        (Action("say", value="  "), True),
        (Action("say", value="x" * 4_001), True),
        (Action("fill"), True),
        (Action("wait"), False),
    ],
    ids=["no text", "blank", "too long", "not possible", "wait"],
)
def test_action_without_a_message_sends_nothing(bot: Bot, action: Action, is_problem: bool) -> None:
    async def scene(environment: ChatEnvironment) -> Observation:
        await environment.act(action)
        return environment.observe()

    seen = asyncio.run(use(ChatEnvironment(own(f"{bot.url}/ok"), allow_private_hosts=True), scene))
    assert (bool(seen.problem), seen.news, bot.requests) == (is_problem, "", [])


def test_replies_and_snapshots_are_bounded(bot: Bot) -> None:
    content = own(f"{bot.url}/long", request={"all": "{history}"})
    seen, snapshot = talk(content, *(f"m{number}" for number in range(20)))
    assert len(str(seen[-1].news)) == MAX_REPLY_LENGTH
    assert len(json.dumps(snapshot)) < KEPT_CHARS + 10_000
    assert snapshot["said"][0]["role"] == "user"
    assert snapshot["said"][-2]["content"] == "m19"
    _, by_id = talk(own(f"{bot.url}/long"), *(f"m{number}" for number in range(5)))
    assert len(json.dumps(by_id)) < VIEW_CHARS + 10_000


@pytest.mark.parametrize(
    ("path", "news", "is_problem", "requests"),
    [
        ("/ok", "Hello  there", False, ["/ok"]),
        ("/silent", "", True, ["/silent"]),
        ("/busy-once", "Hello  there", False, ["/busy-once", "/busy-once"]),
        ("/moved", "Hello  there", False, ["/moved", "/ok"]),
    ],
)
def test_reply_of_a_working_bot(bot: Bot, path: str, news: str, is_problem: bool, requests: list[str]) -> None:
    (_, seen), _ = talk(own(f"{bot.url}{path}"), "hi")
    assert (seen.status, seen.news, bool(seen.problem)) == (200, news, is_problem)
    assert [(path, body["text"]) for path, _, body in bot.requests] == [(path, "hi") for path in requests]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/busy", r"503 \(come back later\)"),
        ("/found", "would be lost"),
        ("/away", "could not be reached"),
        ("/circle", "too many redirects"),
        ("/error", "answers with an error: 500"),
        ("/html", r"not JSON \(<p>Hi</p>\)"),
        ("/number", "is not text: it is a number"),
        ("/bomb", "more than 1,048,576 bytes"),
        ("/deep", "too many values"),
        ("/garbled", "can't be unpacked"),
        ("/hang", r"did not reply within 0\.3 s"),
        ("/drip", r"did not reply within 0\.3 s"),
    ],
)
def test_failure_of_the_bot_ends_the_run_with_its_reason(
    bot: Bot, path: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chatbot_client, "_PAUSE_S", 0.0)
    timeout_s = 0.3 if path in {"/hang", "/drip"} else 30
    with pytest.raises(EnvironmentUnreachable, match=problem):
        talk(own(f"{bot.url}{path}", reply_timeout=timeout_s), "hi")


async def resolve_to_loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize(
    ("url", "private", "problem"),
    [
        ("http://127.0.0.1:1/", True, "could not be reached"),
        ("http://127.0.0.1:1/", False, "must not be visited"),
        ("http://[::ffff:127.0.0.1]:1/", False, "must not be visited"),
        ("http://bot.example/", False, "must not be visited"),
        ("ftp://bot.example/", True, "neither http nor https"),
    ],
)
def test_bot_that_cannot_or_must_not_be_reached_ends_the_run(url: str, private: bool, problem: str) -> None:
    with pytest.raises(EnvironmentUnreachable, match=problem):
        talk(own(url), "hi", private=private, resolver=resolve_to_loopback)


def test_aborted_message_closes_its_connection_and_changes_nothing(bot: Bot) -> None:
    async def scene(environment: ChatEnvironment) -> None:
        before = environment.snapshot()
        saying = asyncio.create_task(act(environment, "say", value="hi"))
        await asyncio.to_thread(wait_until, lambda: bot.requests)
        saying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saying
        assert environment.snapshot() == before
        await asyncio.to_thread(wait_until, lambda: bot.disconnects)

    bot.disconnects = 0
    asyncio.run(use(ChatEnvironment(own(f"{bot.url}/hang"), allow_private_hosts=True), scene))


# -- secrets -----------------------------------------------------------------------------------------------

SECRET = {"headers": {"Authorization": {"secret": "bot"}, "X-Team": "mugs"}}


def test_secret_is_sent_to_its_origin_and_redacted_in_the_reply(
    bot: Bot, secrets_for: Callable[..., RunSecrets]
) -> None:
    (_, seen), snapshot = talk(own(f"{bot.url}/echo", **SECRET), "hi", secrets=secrets_for(bot.url))
    headers = bot.requests[0][1]
    assert (headers["authorization"], headers["x-team"]) == (f"Bearer {KEY}", "mugs")
    assert seen.news == "You are [secret]"
    assert KEY not in json.dumps(snapshot) + repr(seen)


@pytest.mark.parametrize("path", ["/error", "/echo-names", "/session-key"])
def test_secret_is_redacted_in_an_error(bot: Bot, secrets_for: Callable[..., RunSecrets], path: str) -> None:
    content = own(f"{bot.url}{path}", **SECRET)
    if path == "/session-key":
        content["conversation_path"] = "at.id"
    with pytest.raises(EnvironmentUnreachable) as failed:
        talk(content, "hi", secrets=secrets_for(bot.url))
    assert f"Bearer {KEY}" in bot.requests[0][1].values()
    assert KEY not in f"{failed.value} {failed.value!r}"


@pytest.mark.parametrize(
    ("origin", "path", "problem", "count"),
    [
        (None, "/ok", "is not available here", 0),
        ("https://bot.example", "/ok", "is not available here", 0),
        ("", "/away", "is not available here", 1),
    ],
    ids=["unknown", "another origin", "redirect to another origin"],
)
def test_secret_is_not_sent_to_other_origins(
    bot: Bot, secrets_for: Callable[..., RunSecrets], origin: str | None, path: str, problem: str, count: int
) -> None:
    secrets = RunSecrets() if origin is None else secrets_for(origin or bot.url)
    with pytest.raises(EnvironmentUnreachable, match=problem):
        talk(own(f"{bot.url}{path}", **SECRET), "hi", secrets=secrets)
    assert len(bot.requests) == count


@pytest.mark.parametrize("path", ["/leak", "/refuse", "/names", "/words"])
def test_error_of_a_bot_that_got_a_secret_quotes_nothing_of_its_answer(
    bot: Bot, secrets_for: Callable[..., RunSecrets], path: str
) -> None:
    with pytest.raises(EnvironmentUnreachable) as failed:
        talk(own(f"{bot.url}{path}", **SECRET), "hi", secrets=secrets_for(bot.url))
    assert "yek-terces" not in str(failed.value)
    with pytest.raises(EnvironmentUnreachable, match="yek-terces"):
        talk(own(f"{bot.url}{path}"), "hi", secrets=secrets_for(bot.url))


def test_refusals_are_the_same_before_the_first_message_and_after_a_redirect(
    bot: Bot, secrets_for: Callable[..., RunSecrets]
) -> None:
    refusals = set()
    for path, headers, origin in (
        ("/ok", {"Authorization": {"secret": "nobody"}}, bot.url),
        ("/ok", {"X-Key": {"secret": "bot"}}, bot.url),
        ("/ok/%2e%2e/admin", SECRET["headers"], bot.url),
        ("/ok", SECRET["headers"], "https://bot.example"),
        ("/away", SECRET["headers"], bot.url),
    ):
        with pytest.raises(EnvironmentUnreachable) as failed:
            talk(own(f"{bot.url}{path}", headers=headers), "hi", secrets=secrets_for(origin))
        refusals.add(str(failed.value).replace(path, "/PATH"))
    assert len(refusals) == 1
