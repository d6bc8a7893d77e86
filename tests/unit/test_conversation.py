"""How the heuristic mind holds a chat: its messages, its answers, and how it ends."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from understudy.deploy.chatbot.talk import Conversation
from understudy.domain.people import generate_people
from understudy.domain.simulation import Assignment, Decision, Json, Observation, Person, Success, Turn
from understudy.domain.success import succeeded
from understudy.domain.typed_text import TypedText
from understudy.minds.heuristic import HeuristicMind
from understudy.minds.heuristic.message_plan import points
from understudy.plugins.url_patterns import matches

EVERYBODY = generate_people(30, 3)
ADA = Person("Ada Byron", 36, "GB", "en", {"patience": 0.5})
RETURN = "Return the mug from your last order and get a return number."
DONE = Success(text_contains="your return number is")


def decide(person: Person, assignment: Assignment, reply: str, **turn: Any) -> Decision:
    seen = Observation("https://bot", "Chat", actions=("say",), news=reply)
    return asyncio.run(HeuristicMind().decide(Turn(person, assignment, seen, **turn)))


class Chat:
    """One person's chat with something that answers."""

    def __init__(self, hear: Callable[[str], str]) -> None:
        self.hear = hear
        self.memory: Json = {}
        self.reply = ""
        self.decisions: list[Decision] = []
        self.success = False

    def go_on(
        self, person: Person, task: str, success: Success | None = None, told: str | None = None, cap: int = 30
    ) -> "Chat":
        assignment = Assignment(task, success)
        for resumed in (bool(self.decisions), *[False] * (cap - 1)):
            turn: Any = {"instruction": told, "resumed": resumed, "memory": self.memory, "seed": 1}
            decision = decide(person, assignment, self.reply, **turn)
            self.memory = json.loads(json.dumps(decision.memory))
            self.decisions.append(decision)
            if decision.action.kind != "say":
                break
            self.reply = self.hear(str(decision.action.value))
            if succeeded(success, Observation("", "", news=self.reply), TypedText(), matches):
                self.success = True
                break
        return self

    @property
    def said(self) -> list[str]:
        return [str(one.action.value) for one in self.decisions if one.action.kind == "say"]

    @property
    def end(self) -> str:
        return self.decisions[-1].action.kind


@pytest.mark.parametrize(
    ("task", "messages"),
    [
        (RETURN, ["I would like to return the mug from my last order and get a return number."]),
        ("Find out how long shipping takes.", ["Could you tell me how long shipping takes?"]),
        ("Ask the bot about gift wrapping", ["I have a question about gift wrapping."]),
        ("Tell it that your order is late.", ["My order is late."]),
        ("What does it cost?", ["What does it cost?"]),
        (
            "Ask whether it ships to Peru. Then ask for a refund.",
            ["Could you tell me whether it ships to Peru?", "I would like to have a refund."],
        ),
        ("Stop chatting - ask about payment instead.", ["I have a question about payment."]),
        ("Do not buy anything.", []),
    ],
)
def test_a_task_becomes_messages_in_the_first_person(task: str, messages: list[str]) -> None:
    assert list(points(task)) == messages


def test_people_get_a_return_number_from_the_help_desk_in_words_of_their_own() -> None:
    chats = [Chat(Conversation().reply).go_on(person, RETURN, DONE) for person in EVERYBODY]
    assert [chat.said for chat in chats if not chat.success] == []
    assert len({chat.said[0] for chat in chats}) > 2
    again = [Chat(Conversation().reply).go_on(person, RETURN, DONE) for person in EVERYBODY[:5]]
    assert [chat.decisions for chat in again] == [chat.decisions for chat in chats[:5]]


def test_without_a_success_condition_it_finishes_when_all_is_answered() -> None:
    chat = Chat(Conversation().reply).go_on(ADA, "Ask whether you ship abroad. Ask about gift wrapping.")
    assert (len(chat.said), chat.end) == (2, "finish")
    assert chat.decisions[-1].sentiment > 0.5


def test_it_finishes_at_the_reply_that_it_wanted() -> None:
    assert decide(ADA, Assignment(RETURN, DONE), "Your return number is RET-1.").action.kind == "finish"


def test_it_gives_up_on_a_bot_that_understands_nothing_and_later_with_more_patience() -> None:
    def chat_of(patience: float) -> Chat:
        person = replace(ADA, traits={"patience": patience})
        return Chat(lambda _: "Sorry, I did not understand that.").go_on(person, RETURN, DONE)

    impatient, patient = chats = [chat_of(0.0), chat_of(1.0)]
    assert [chat.end for chat in chats] == ["give_up", "give_up"]
    moods = [[decision.sentiment for decision in chat.decisions] for chat in chats]
    assert moods == [sorted(each, reverse=True) for each in moods]
    assert 1 < len(set(impatient.said)) <= len(impatient.said) < len(patient.said), "it tries other words"


@pytest.mark.parametrize("reply", ["", "Fine.", "Which colour?", "Do you like mugs?", "Red or blue?"])
def test_it_gives_up_on_a_bot_that_always_says_the_same(reply: str) -> None:
    chats = [Chat(lambda _: reply).go_on(person, RETURN, DONE, cap=200) for person in EVERYBODY[:10]]
    assert {chat.end for chat in chats} == {"give_up"}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is your email address?", "ada.byron@example.org."),
        ("May I have your name?", "Ada Byron."),
        ("What is your order number?", "It is "),
        ("Why do you want to return it?", "."),
        ("Would you like a refund or an exchange?", ", please."),
        ("Is that all right?", ("Yes, please.", "No, thank you.")),
    ],
)
def test_questions_are_answered_with_facts_of_the_person(question: str, answer: str | tuple[str, ...]) -> None:
    replies = iter([question, "Fine."])
    chat = Chat(lambda _: next(replies)).go_on(ADA, RETURN, DONE, cap=2)
    assert chat.said[1].startswith(answer) or chat.said[1].endswith(answer), chat.said


@pytest.mark.parametrize("person", EVERYBODY[:10], ids=lambda person: person.name)
def test_a_resumed_chat_follows_its_instruction_without_frustration(person: Person) -> None:
    desk = Conversation()
    chat = Chat(desk.reply).go_on(person, "Book a table for two.", Success(text_contains="booked"))
    assert chat.end == "give_up"
    before = len(chat.said)
    chat.go_on(person, "Book a table for two.", None, told="Ask about payment instead.")
    assert "payment" in chat.said[before]
    assert (chat.end, desk.topics) == ("finish", ["payment"])


def test_an_instruction_to_stop_finishes() -> None:
    chat = Chat(Conversation().reply).go_on(ADA, RETURN, DONE, told="Stop now.")
    assert (chat.said, chat.end) == ([], "finish")


@pytest.mark.parametrize(
    "memory", [{"talk": 7}, {"talk": {"raised": True, "heard": [1]}}, {"talk": {"frustration": "x"}}]
)
def test_malformed_memory_is_ignored(memory: dict[str, Any]) -> None:
    assert decide(ADA, Assignment(RETURN), "", memory=memory).action.kind == "say"
