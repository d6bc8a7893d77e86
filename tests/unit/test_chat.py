"""What may be said about a chatbot, and how a message becomes a request and an answer a reply."""

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.domain.chat import ChatbotConfig, ReplyNotFound, check_chat
from understudy.domain.errors import ValidationError
from understudy.plugins.secrets import InvalidSecretsFile, SecretNotAllowed, Secrets

OPENAI = {"environment": "chat", "url": "https://bot.example/v1", "protocol": "openai"}
OWN = {
    "environment": "chat",
    "url": "https://bot.example/chat",
    "protocol": "json",
    "request": {"text": "{message}", "id": "{conversation_id}"},
    "response_path": "reply.text",
}
KEY = "Bearer sk-0123456789"


@pytest.mark.parametrize("url", ["https://bot.example/v1", "https://bot.example/v1/chat/completions/"])
def test_an_openai_compatible_bot_is_told_all_that_was_said(url: str) -> None:
    bot = ChatbotConfig.of(OPENAI | {"url": url, "model": "small"})
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert bot.url == "https://bot.example/v1/chat/completions"
    assert bot.request("Why {so}?", "c-1", before) == {
        "model": "small",
        "messages": [*before, {"role": "user", "content": "Why {so}?"}],
    }
    assert bot.sends_full_history
    assert bot.reply({"choices": [{"message": {"content": "Because."}}]}) == "Because."


def test_a_template_is_filled_wherever_its_texts_have_placeholders() -> None:
    request = {"say": "<{message}> {{raw}}", "in": [{"id": "{conversation_id}", "n": 3}], "all": "{history}"}
    filled = ChatbotConfig.of(OWN | {"request": request}).request('{message} "x"', "c-1", [])
    assert filled == {
        "say": '<{message} "x"> {raw}',
        "in": [{"id": "c-1", "n": 3}],
        "all": [{"role": "user", "content": '{message} "x"'}],
    }


@pytest.mark.parametrize(
    ("path", "reply"),
    [("a.0.b", "x"), ("a.-1.b", "y"), ("lines", "one\ntwo"), ("a.0", ReplyNotFound), ("n", ReplyNotFound)],
)
def test_the_reply_stands_where_the_path_says(path: str, reply: Any) -> None:
    answer = {"a": [{"b": "x"}, {"b": "y"}], "lines": ["one", "two"], "n": None}
    bot = ChatbotConfig.of(OWN | {"response_path": path})
    if reply is ReplyNotFound:
        with pytest.raises(ReplyNotFound, match="is not text"):
            bot.reply(answer)
    else:
        assert bot.reply(answer) == reply


def test_an_id_that_the_bot_gives_is_sent_as_it_was_given() -> None:
    bot = ChatbotConfig.of(OWN | {"conversation_path": "session.id"})
    assert bot.request("Hi", None, []) == {"text": "Hi", "id": None}
    given = bot.conversation({"session": {"id": 7}})
    assert bot.request("Hi", given, []) == {"text": "Hi", "id": 7}
    for answer in ({"session": {"id": None}}, {"session": {"id": True}}, {"session": {"id": "x" * 1_001}}):
        with pytest.raises(ReplyNotFound, match="is not an id"):
            bot.conversation(answer)


@pytest.mark.parametrize(
    ("path", "told"), [("a.2.b", "a list of 2"), ("b.c", "there is a, lines"), ("a.x", "it is a list")]
)
def test_where_there_is_no_reply_the_error_says_what_there_is(path: str, told: str) -> None:
    with pytest.raises(ReplyNotFound, match=told):
        ChatbotConfig.of(OWN | {"response_path": path}).reply({"a": [{}, {}], "lines": []})


DEEP: Any = "{message}"
for _ in range(20):
    DEEP = {"x": DEEP}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OPENAI | {"protocol": "soap"}, "openai or json"),
        (OPENAI | {"protocol": ["openai"]}, "openai or json"),
        ({"environment": "chat", "url": "https://bot.example"}, "openai or json"),
        (OPENAI | {"request": {}}, "not 'request'"),
        (OPENAI | {"model": ""}, "content.model"),
        (OWN | {"model": "x"}, "not 'model'"),
        (OWN | {"request": "text"}, "must be an object"),
        (OWN | {"request": {"text": "hello"}}, "{message} or {history}"),
        (OWN | {"request": {"text": "{massage}"}}, "'{massage}'"),
        (OWN | {"request": {"text": "{message} {"}}, "for a brace"),
        (OWN | {"request": {"text": "so: {history}"}}, "the whole text"),
        (OWN | {"request": {"text": "{message}", "x": "x" * 20_000}}, "20,000 characters"),
        (OWN | {"request": DEEP}, "16 levels"),
        (OWN | {"response_path": "reply..text"}, "response_path"),
        (OWN | {"response_path": 7}, "response_path"),
        (OWN | {"response_path": ".".join("a" * 17)}, "response_path"),
        (OWN | {"conversation_path": ""}, "conversation_path"),
        (OWN | {"request": {"text": "{message}"}, "conversation_path": "id"}, "needs {conversation_id}"),
        (OPENAI | {"conversation_path": "id"}, "not 'conversation_path'"),
        (OWN | {"headers": []}, "must be an object"),
        (OWN | {"headers": {"Host": "x"}}, "cannot be set"),
        (OWN | {"headers": {"X-A": "1", "x-a": "2"}}, "given twice"),
        (OWN | {"headers": {"X-A": "one\r\nX-B: two"}}, "ASCII text"),
        (OWN | {"headers": {"Authorization": "Bearer abc"}}, "looks like a secret"),
        (OWN | {"headers": {"X-Api-Key": "abc"}}, "looks like a secret"),
        (OWN | {"headers": {"X-A": {"secret": "../etc"}}}, "name of a secret"),
        (OWN | {"headers": {"X-A": {"secret": "a", "value": "b"}}}, "name of a secret"),
        (OWN | {"reply_timeout": True}, "number of seconds"),
        (OWN | {"reply_timeout": 601}, "at most 600"),
    ],
)
def test_what_describes_no_bot_is_refused_with_what_would_be_right(content: Any, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        check_chat(content)
    assert told in str(refused.value)
    assert "Bearer abc" not in str(refused.value)


def secrets_of(folder: Path, content: Any) -> Secrets:
    file = folder / "secrets.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return Secrets.load(str(file))


def test_a_secret_goes_to_its_origins_and_nowhere_else(tmp_path: Path) -> None:
    secrets = secrets_of(tmp_path, {"bot": {"value": KEY, "origins": ["https://Bot.example"]}})
    assert secrets.value("bot", "https://bot.example:443/chat?x=1") == KEY
    for url in ("http://bot.example/", "https://bot.example:8443/", "https://bot.example.evil.example/"):
        with pytest.raises(SecretNotAllowed, match="must not be sent"):
            secrets.value("bot", url)
    with pytest.raises(SecretNotAllowed, match="no secret 'other'"):
        secrets.value("other", "https://bot.example/")
    assert "sk-" not in repr(secrets)


def test_a_secret_that_comes_back_is_not_told(tmp_path: Path) -> None:
    secrets = secrets_of(tmp_path, {"bot": {"value": KEY, "origins": ["https://bot.example"]}})
    assert secrets.redacted(f"You sent {KEY}, that is sk-0123456789.") == "You sent [secret], that is [secret]."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ([], "a JSON object"),
        ({"a b": {}}, "a name has"),
        ({"bot": {"value": KEY}}, "value and origins"),
        ({"bot": {"value": f"{KEY}\n", "origins": ["https://bot.example"]}}, "ASCII"),
        ({"bot": {"value": KEY, "origins": []}}, "origins must be a list"),
        ({"bot": {"value": KEY, "origins": ["bot.example"]}}, "an origin must look like"),
    ],
)
def test_a_file_of_secrets_that_cannot_be_used_is_told_without_them(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(InvalidSecretsFile) as refused:
        secrets_of(tmp_path, content)
    assert told in str(refused.value)
    assert "sk-" not in str(refused.value)


def test_without_a_file_there_are_no_secrets(tmp_path: Path) -> None:
    with pytest.raises(SecretNotAllowed):
        Secrets.load("").value("bot", "https://bot.example/")
    with pytest.raises(InvalidSecretsFile, match="cannot be read"):
        Secrets.load(str(tmp_path / "none.json"))
