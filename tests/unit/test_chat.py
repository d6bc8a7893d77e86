"""The content that describes a chatbot, its requests and replies."""

from typing import Any

import pytest

from understudy.domain.chat import ChatbotConfig, ReplyNotFound, check_chat
from understudy.domain.errors import ValidationError

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


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ({"content": None, "refusal": "I cannot help with that."}, "I cannot help with that."),
        ({"content": "", "refusal": "No."}, "No."),
        ({"refusal": "No."}, "No."),
        ({"content": "Yes.", "refusal": None}, "Yes."),
        ({"content": "", "refusal": ""}, ""),
        ({"content": [{"type": "text", "text": "One."}, {"type": "output_text", "text": "Two."}]}, "One.\nTwo."),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        (
            {"content": ["One.", {"type": "image_url", "image_url": {"url": "http://x"}}, {}]},
            "One.\n[image_url]\n[attachment]",
        ),
        ({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "One."}]}, "One."),
    ],
)
def test_reply_of_an_openai_bot_is_its_refusal_or_its_parts(message: dict[str, Any], reply: str) -> None:
    bot = ChatbotConfig.of({"environment": "chat", "protocol": "openai", "url": "http://bot.test/v1"})
    assert bot.reply({"choices": [{"message": message}]}) == reply


@pytest.mark.parametrize("message", [{"content": None}, {"content": None, "refusal": 3}, {"content": [3]}, {}])
def test_openai_answer_without_text_is_an_error(message: dict[str, Any]) -> None:
    bot = ChatbotConfig.of({"environment": "chat", "protocol": "openai", "url": "http://bot.test/v1"})
    with pytest.raises(ReplyNotFound):
        bot.reply({"choices": [{"message": message}]})
