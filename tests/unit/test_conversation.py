"""How the heuristic mind holds a chat: what it says, when it is content, when it has had enough."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from understudy.deploy.chatbot.talk import Conversation
from understudy.domain.people import generate_people
from understudy.domain.simulation import Assignment, Decision, Json, Observation, Person, Success, Turn, succeeded
from understudy.minds.heuristic import HeuristicMind
from understudy.minds.message_plan import points

EVERYBODY = generate_people(30, 3)
ADA = Person("Ada Byron", 36, "GB", "en", {"patience": 0.5})
RETURN = "Return the mug from your last order and get a return number."
DONE = Success(text_contains="your return number is")


class Chat:
    """One person's chat with something that answers."""

    def __init__(self, hear: Callable[[str], str]) -> None:
        self.hear = hear
        self.memory: Json = {}
        self.reply = ""
        self.decisions: list[Decision] = []
        self.success = False

    def go_on(
        self,
        person: Person,
        task: str,
        success: Success | None = None,
        told: str | None = None,
        cap: int = 30,
    ) -> "Chat":
        resumed = bool(self.decisions)
        for number in range(cap):
            seen = Observation("https://bot", "Chat", actions=("say",), news=self.reply)
            turn = Turn(
                person,
                Assignment(task, success),
                seen,
                instruction=told,
                resumed=resumed and number == 0,
                memory=self.memory,
                seed=1,
            )
            decision = asyncio.run(HeuristicMind().decide(turn))
            self.memory = json.loads(json.dumps(decision.memory))
            self.decisions.append(decision)
            if decision.action.kind != "say":
                break
            self.reply = self.hear(str(decision.action.value))
            if succeeded(success, Observation("", "", news=self.reply)):
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


def test_everybody_gets_a_return_number_from_the_help_desk() -> None:
    for person in EVERYBODY:
        chat = Chat(Conversation().reply).go_on(person, RETURN, DONE)
        assert chat.success, chat.said
    # And not all in the same words.
    assert len({Chat(Conversation().reply).go_on(person, RETURN, DONE).said[0] for person in EVERYBODY}) > 2


def test_the_same_person_says_the_same_again() -> None:
    for person in EVERYBODY[:5]:
        first, second = (Chat(Conversation().reply).go_on(person, RETURN, DONE) for _ in range(2))
        assert first.decisions == second.decisions


def test_without_a_success_condition_one_is_content_when_all_was_answered() -> None:
    chat = Chat(Conversation().reply).go_on(ADA, "Ask whether you ship abroad. Ask about gift wrapping.")
    assert (len(chat.said), chat.end) == (2, "finish")
    assert chat.decisions[-1].sentiment > 0.5


def test_who_hears_what_was_wanted_stops() -> None:
    seen = Observation("https://bot", "Chat", actions=("say",), news="Your return number is RET-1.")
    decision = asyncio.run(HeuristicMind().decide(Turn(ADA, Assignment(RETURN, DONE), seen)))
    assert decision.action.kind == "finish"


def test_a_bot_that_understands_nothing_is_given_up_and_the_patient_try_for_longer() -> None:
    def tries(patience: float) -> int:
        person = Person("Ada", 36, "GB", "en", {"patience": patience})
        chat = Chat(lambda _: "Sorry, I did not understand that.").go_on(person, RETURN, DONE)
        assert chat.end == "give_up"
        moods = [one.sentiment for one in chat.decisions]
        assert moods == sorted(moods, reverse=True)
        assert len(set(chat.said)) > 1, "it is tried in other words"
        return len(chat.said)

    assert tries(0.0) < tries(1.0)


@pytest.mark.parametrize("reply", ["", "Fine.", "Which colour?", "Do you like mugs?", "Red or blue?"])
def test_whatever_a_bot_says_it_is_given_up_one_day(reply: str) -> None:
    for person in EVERYBODY[:10]:
        assert Chat(lambda _: reply).go_on(person, RETURN, DONE, cap=200).end == "give_up"


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
def test_questions_are_answered_by_who_one_is(question: str, answer: str | tuple[str, ...]) -> None:
    replies = iter([question, "Fine."])
    chat = Chat(lambda _: next(replies)).go_on(ADA, RETURN, DONE, cap=2)
    assert chat.said[1].startswith(answer) or chat.said[1].endswith(answer), chat.said


def test_an_instruction_comes_first_and_frustration_starts_fresh() -> None:
    for person in EVERYBODY[:10]:
        desk = Conversation()
        chat = Chat(desk.reply).go_on(person, "Book a table for two.", Success(text_contains="booked"))
        assert chat.end == "give_up"
        before = len(chat.said)
        chat.go_on(person, "Book a table for two.", None, told="Ask about payment instead.")
        assert "payment" in chat.said[before]
        assert chat.end == "finish"
        assert desk.topics == ["payment"]


def test_told_to_stop_one_stops() -> None:
    chat = Chat(Conversation().reply).go_on(ADA, RETURN, DONE, told="Stop now.")
    assert (chat.said, chat.end) == ([], "finish")


@pytest.mark.parametrize(
    "memory", [{"talk": 7}, {"talk": {"raised": True, "heard": [1]}}, {"talk": {"frustration": "x"}}]
)
def test_odd_memory_is_forgotten(memory: dict[str, Any]) -> None:
    seen = Observation("https://bot", "Chat", actions=("say",), news="")
    decision = asyncio.run(HeuristicMind().decide(Turn(ADA, Assignment(RETURN), seen, memory=memory)))
    assert decision.action.kind == "say"
