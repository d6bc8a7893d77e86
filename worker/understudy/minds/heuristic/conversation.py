"""Conversation: decides what the heuristic mind says to a chatbot, by patterns and word overlap."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from understudy.domain.simulation import Action, Decision, Element, Json, Turn
from understudy.minds.heuristic.character import Personality
from understudy.minds.heuristic.form_values import is_personal, text_for_field
from understudy.minds.heuristic.goal_parser import parse_goal
from understudy.minds.heuristic.memory import key_of
from understudy.minds.heuristic.message_plan import points
from understudy.minds.heuristic.word_stems import stems

_MAX_REPLIES = 100
_MAX_MESSAGE = 2_000

_NOT_UNDERSTOOD = re.compile(
    r"(?:did|do|does|could)(?: not|n['\u2019]t) (?:quite |fully |really )?"
    r"(?:understand|get|catch|know|follow)|"
    r"not (?:quite )?(?:sure what|able to)|"
    r"\b(?:cannot|can['\u2019]?t|unable to) (?:help|do|find|answer)|"
    r"\brephrase|\btry again|something went wrong|verstehe (?:das )?nicht|nicht verstanden|"
    r"je ne comprends pas|no (?:te |le |lo )?entiendo",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"([^.!?\n]*)\?")
_NUMBER_OF = re.compile(
    r"(?:order|customer|invoice|booking|reference|ticket|contract|tracking|account)[\s-]*(?:number|no\b|id\b|code)|"
    r"(?:number|id) of (?:your|the) (?:order|booking|invoice)",
    re.IGNORECASE,
)
_REASON = re.compile(r"\bwhy\b|\breason\b|what(?:['\u2019]s| is| was) wrong|how come", re.IGNORECASE)
_OPEN = re.compile(
    r"(?:how|what) (?:can|may|could) (?:i|we) (?:do|help|assist)|anything else|something else|what else|"
    r"(?:can|may|could) (?:i|we) help",
    re.IGNORECASE,
)
_YES_NO = re.compile(
    r"^\W*(?:(?:and|so|ok(?:ay)?|great|well|then|good|thanks?|thank you)\W+)*"
    r"(?:do|does|did|is|are|was|were|can|could|would|will|shall|should|have|has|may|want|need)\b",
    re.IGNORECASE,
)
_EITHER = re.compile(
    r"([\w' -]{2,60}?)(?:, ([\w' -]{2,40}?))?,? or (?:an? |the |by |with )?([\w' -]{2,60})\s*$", re.IGNORECASE
)
_LEAD = re.compile(r"^.*\b(?:prefer|like|want|choose|need|be|by|with|is it|was it|an?|the)\s+(?=\S)", re.IGNORECASE)
_REASONS = (
    "It is not what I expected.",
    "I have changed my mind.",
    "It does not suit me after all.",
    "It came too late for me.",
)
_REPEATS = (
    "What about {what}?",
    "I still need an answer: {point}",
    "Let me put it differently: {what}.",
    "Once more: {point}",
)
_CANNOT_ANSWER = "I don't know. {point}"


@dataclass(slots=True)
class _Memory:
    """Holds the memory. `load` replaces invalid stored values by defaults and never raises."""

    frustration: float = 0.0
    #: Raised points of the task and of the instruction; `told` is the key of that instruction.
    raised: int = 0
    told_raised: int = 0
    told: str = ""
    pressed: int = 0
    #: Keys of earlier replies, the latest last.
    heard: list[str] = field(default_factory=list)
    #: Largest share of the goal that one reply has covered, from 0 to 1.
    covered: float = 0.0

    @classmethod
    def load(cls, stored: Json) -> Self:
        memory = cls()
        fields = stored.get("talk") if isinstance(stored, Mapping) else None
        if not isinstance(fields, Mapping):
            return memory
        for name in cls.__slots__:
            value, default = fields.get(name), getattr(memory, name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                fits = isinstance(value, type(default)) or isinstance(default, float)
                fits = fits and math.isfinite(value) and 0 <= value < 1_000
            elif isinstance(value, list):
                fits = isinstance(default, list) and all(isinstance(item, str) for item in value)
            else:
                fits = isinstance(value, str) and isinstance(default, str)
            if fits:
                setattr(memory, name, value)
        return memory

    def as_json(self) -> dict[str, Any]:
        self.heard = self.heard[-_MAX_REPLIES:]
        self.frustration, self.covered = round(self.frustration, 3), round(self.covered, 3)
        return {"talk": {name: getattr(self, name) for name in self.__slots__}}


def decide_reply(turn: Turn) -> Decision:
    """Returns the next message, `finish` or `give_up`; the same for the same turn."""
    return _Conversation(turn).decide()


class _Conversation:
    """Builds one decision."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._reply = turn.observation.news or ""
        self._memory = memory = _Memory.load(turn.memory)
        self._character = Personality(turn.person, turn.seed)
        self._task = points(turn.assignment.task) or (turn.assignment.task[:_MAX_MESSAGE],)
        self._direction = points(turn.instruction) if turn.instruction else ()
        self._aim = parse_goal(turn.instruction or turn.assignment.task)
        key = key_of(turn.instruction) if turn.instruction else ""
        self._is_new = key != memory.told
        if self._is_new:
            memory.told, memory.told_raised, memory.covered, memory.pressed = key, 0, 0.0, 0
        if turn.resumed or self._is_new:
            memory.frustration = 0.0
        self._not_understood = self._repeated = False
        self._progress = 0.0

    def decide(self) -> Decision:
        memory, success = self._memory, self._turn.assignment.success
        has_begun = memory.raised + memory.told_raised > 0
        if has_begun:
            self._process_reply()
        if self._turn.instruction and parse_goal(self._turn.instruction).ends:
            return self._end("finish", "I was told to stop, so I stop here.", 0.0)
        wanted = success.text_contains if success else None
        if wanted and wanted.casefold() in self._reply.casefold() and not (self._direction and self._is_new):
            return self._end("finish", "That is what I wanted to hear.", 0.9)
        if memory.frustration >= self._character.frustration_limit:
            return self._end("give_up", "I am not getting anywhere with this bot; I have had enough.", -0.9)
        if memory.told_raised < len(self._direction):
            return self._raise_instruction()
        if has_begun and not self._not_understood and (answer := self._answer()):
            return self._say(*answer)
        if memory.raised < len(self._task) and not (self._direction and memory.raised):
            return self._raise_next()
        if success is None and not self._not_understood and not self._repeated:
            return self._end("finish", "That answers what I wanted to know.", 0.7)
        return self._repeat_request()

    def _process_reply(self) -> None:
        """Updates progress and frustration from the last reply."""
        memory, reply = self._memory, self._reply
        key = key_of(reply.casefold())
        self._not_understood = bool(_NOT_UNDERSTOOD.search(reply))
        self._repeated = key in memory.heard
        annoyed = 0.03
        if self._turn.observation.problem or not reply:
            annoyed += 0.3
        elif self._not_understood:
            annoyed += 0.35
        elif self._repeated:
            annoyed += 0.3
        wanted = self._aim.words
        if wanted and not self._not_understood:
            said = set(stems(reply[:300])) | set(stems(reply[-300:]))
            covered = sum(weight for word, weight in wanted.items() if word in said) / self._aim.weight
            if covered > memory.covered + 0.05:
                self._progress = covered - memory.covered
                memory.covered = covered
                annoyed -= 0.2
        memory.heard.append(key)
        memory.frustration = min(max(memory.frustration + annoyed, 0.0), 10.0)

    # Messages

    def _raise_instruction(self) -> Decision:
        memory = self._memory
        point = self._direction[memory.told_raised]
        first = memory.told_raised == 0
        memory.told_raised += 1
        opening = "" if not first else self._greeting() if memory.raised == 0 else "Something else: "
        return self._say(f"{opening}{point}", "I was asked to bring this up." if first else "And there is more.")

    def _raise_next(self) -> Decision:
        memory = self._memory
        point = self._task[memory.raised]
        first = memory.raised == 0
        memory.raised += 1
        if first:
            return self._say(f"{self._greeting()}{point}{self._thanks()}", "I'll say what I came for.")
        return self._say(point, "That is settled; there is something else I came for.")

    def _repeat_request(self) -> Decision:
        """Rephrases the request after an unsuitable reply; each repeat adds frustration."""
        memory = self._memory
        memory.frustration += 0.15
        point = (self._direction or self._task)[-1]
        queries = self._aim.queries or (point.rstrip(".?"),)
        words = _REPEATS[memory.pressed % len(_REPEATS)]
        what = queries[memory.pressed // 2 % len(queries)]
        memory.pressed += 1
        why = "It did not understand me." if self._not_understood else "That was not what I asked."
        return self._say(words.format(what=what, point=point), why)

    def _answer(self) -> tuple[str, str] | None:
        """Returns the answer to the bot's last question, and the thought; None if there is none to answer."""
        asked = [match[1].strip() for match in _QUESTION.finditer(self._reply[-1_000:]) if match[1].strip()]
        if not asked:
            return None
        question = asked[-1]
        person, chance = self._turn.person, self._character.random_for
        if _OPEN.search(question):
            return None
        if _NUMBER_OF.search(question):
            number = 1_000 + int(key_of(person.name, person.age), 16) % 9_000
            return f"It is {number}.", "It wants a number; I have it here."
        if _REASON.search(question):
            reason = _REASONS[int(chance("reason") * len(_REASONS))]
            return reason, "It wants to know why."
        is_choice = " or " in question.casefold()
        # Checked before yes or no: "may I have your name" asks for the name.
        field_ = Element(1, "text", question)
        if is_personal(field_) and not is_choice:
            return f"{text_for_field(field_, person, self._aim)}.", "It wants to know something about me."
        if is_choice and (options := _options(question)):
            best = max(options, key=lambda option: (self._goal_score(option), chance("option", option)))
            return f"{best[:1].upper()}{best[1:]}, please.", "I have to choose one."
        if _YES_NO.match(question):
            yes = self._goal_score(question) > 0 or chance("yes", key_of(question)) < 0.6
            return ("Yes, please." if yes else "No, thank you."), "A simple question."
        left = (*self._direction[self._memory.told_raised :], *self._task[self._memory.raised :])
        if left or self._repeated:
            return None
        return _CANNOT_ANSWER.format(point=(self._direction or self._task)[-1]), "I can't answer that."

    def _goal_score(self, text: str) -> float:
        return sum(self._aim.words.get(word, 0.0) for word in dict.fromkeys(stems(text)))

    def _greeting(self) -> str:
        character, person = self._character, self._turn.person
        if character.patience < 0.25:
            return ""
        if person.age >= 60:
            return "Good day. "
        return "Hello! " if character.random_for("greeting") < 0.5 else "Hi! "

    def _thanks(self) -> str:
        return " Thank you in advance." if self._character.thoroughness > 0.7 else ""

    # Decisions

    def _say(self, message: str, thought: str) -> Decision:
        if self._turn.observation.problem:
            thought = f"Hm: {self._turn.observation.problem[:150]} {thought}"
        action = Action("say", value=message[:_MAX_MESSAGE])
        return Decision(thought, action, self._sentiment(), self._memory.as_json())

    def _end(self, kind: str, thought: str, sentiment: float) -> Decision:
        return Decision(thought, Action(kind), sentiment, self._memory.as_json())

    def _sentiment(self) -> float:
        spent = self._memory.frustration / self._character.frustration_limit
        return round(min(max(0.2 + 0.6 * self._progress - 1.1 * spent, -1.0), 1.0), 2)


def _options(question: str) -> list[str]:
    """Returns the options that the question names; empty if none is recognised."""
    match = _EITHER.search(question)
    if not match:
        return []
    return [text for text in (_LEAD.sub("", part or "").strip() for part in match.groups()) if text]
