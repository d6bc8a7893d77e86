"""The content that describes a chatbot, its requests and replies, and the secrets of its headers."""

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
def test_an_openai_compatible_bot_gets_the_full_history(url: str) -> None:
    bot = ChatbotConfig.of(OPENAI | {"url": url, "model": "small"})
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert bot.url == "https://bot.example/v1/chat/completions"
    assert bot.request("Why {so}?", "c-1", before) == {
        "model": "small",
        "messages": [*before, {"role": "user", "content": "Why {so}?"}],
    }
    assert bot.sends_full_history
    assert bot.reply({"choices": [{"message": {"content": "Because."}}]}) == "Because."


def test_a_template_is_filled_at_any_depth() -> None:
    request = {"say": "<{message}> {{raw}}", "in": [{"id": "{conversation_id}", "n": 3}], "all": "{history}"}
    filled = ChatbotConfig.of(OWN | {"request": request}).request('{message} "x"', "c-1", [])
    assert filled == {
        "say": '<{message} "x"> {raw}',
        "in": [{"id": "c-1", "n": 3}],
        "all": [{"role": "user", "content": '{message} "x"'}],
    }


@pytest.mark.parametrize(("path", "reply"), [("a.0.b", "x"), ("a.-1.b", "y"), ("lines", "one\ntwo")])
def test_the_reply_is_at_its_path(path: str, reply: str) -> None:
    answer = {"a": [{"b": "x"}, {"b": "y"}], "lines": ["one", "two"]}
    assert ChatbotConfig.of(OWN | {"response_path": path}).reply(answer) == reply


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("a.0", "is not text"),
        ("n", "is not text"),
        ("a.2.b", "a list of 2"),
        ("b.c", "there is a, lines"),
        ("a.x", "it is a list"),
    ],
)
def test_an_answer_without_a_reply_is_an_error_that_says_what_it_has(path: str, error: str) -> None:
    with pytest.raises(ReplyNotFound, match=error):
        ChatbotConfig.of(OWN | {"response_path": path}).reply({"a": [{}, {}], "lines": [], "n": None})


def test_a_conversation_id_of_the_bot_is_sent_back_unchanged() -> None:
    bot = ChatbotConfig.of(OWN | {"conversation_path": "session.id"})
    assert bot.request("Hi", None, []) == {"text": "Hi", "id": None}
    given = bot.conversation({"session": {"id": 7}})
    assert bot.request("Hi", given, []) == {"text": "Hi", "id": 7}


@pytest.mark.parametrize("wrong", [None, True, "x" * 1_001], ids=["null", "true", "too long"])
def test_a_wrong_conversation_id_is_an_error(wrong: Any) -> None:
    with pytest.raises(ReplyNotFound, match="is not an id"):
        ChatbotConfig.of(OWN | {"conversation_path": "session.id"}).conversation({"session": {"id": wrong}})


DEEP: Any = "{message}"
for _ in range(20):
    DEEP = {"x": DEEP}


@pytest.mark.parametrize(
    ("content", "error"),
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
def test_content_that_describes_no_chatbot_is_refused(content: Any, error: str) -> None:
    with pytest.raises(ValidationError) as refused:
        check_chat(content)
    assert error in str(refused.value)
    assert "Bearer abc" not in str(refused.value)


def secrets_of(folder: Path, content: Any) -> Secrets:
    file = folder / "secrets.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return Secrets.load(str(file))


BOT = {"bot": {"value": KEY, "origins": ["https://Bot.example"]}}


def test_a_secret_has_a_value_for_its_origins_and_is_redacted(tmp_path: Path) -> None:
    secrets = secrets_of(tmp_path, BOT)
    assert secrets.value("bot", "https://bot.example:443/chat?x=1") == KEY
    assert secrets.redacted(f"You sent {KEY}, that is sk-0123456789.") == "You sent [secret], that is [secret]."
    assert "sk-" not in repr(secrets)


@pytest.mark.parametrize(
    ("name", "url", "error"),
    [
        ("bot", "http://bot.example/", "must not be sent"),
        ("bot", "https://bot.example:8443/", "must not be sent"),
        ("bot", "https://bot.example.evil.example/", "must not be sent"),
        ("other", "https://bot.example/", "no secret 'other'"),
    ],
)
def test_a_secret_has_no_value_for_other_origins(tmp_path: Path, name: str, url: str, error: str) -> None:
    with pytest.raises(SecretNotAllowed, match=error):
        secrets_of(tmp_path, BOT).value(name, url)


@pytest.mark.parametrize(
    ("content", "error"),
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
def test_a_wrong_file_of_secrets_is_refused_without_showing_them(tmp_path: Path, content: Any, error: str) -> None:
    with pytest.raises(InvalidSecretsFile) as refused:
        secrets_of(tmp_path, content)
    assert error in str(refused.value)
    assert "sk-" not in str(refused.value)


def test_no_file_means_no_secrets(tmp_path: Path) -> None:
    with pytest.raises(SecretNotAllowed):
        Secrets.load("").value("bot", "https://bot.example/")
    with pytest.raises(InvalidSecretsFile, match="cannot be read"):
        Secrets.load(str(tmp_path / "none.json"))
