"""Replies of the help desk: chosen by keywords, with a memory of the conversation."""

import re
from dataclasses import dataclass, field

_NUMBER = re.compile(r"\b\d{4,6}\b")
_NAME = re.compile(r"\bmy name is (\w[\w' -]{0,40}\w)", re.IGNORECASE)
_RECALL = re.compile(r"\bremember|so far|before|talk(?:ed|ing) about|summar|recap", re.IGNORECASE)
_MAX_TOPICS = 20

#: Topic, pattern of its keywords, reply; an empty reply starts a return.
_TOPICS = (
    ("returns", r"return|send (?:it )?back|refund|exchange|broken|wrong item", ""),
    (
        "shipping",
        r"ship|deliver|post|switzerland|abroad|arriv",
        "Shipping takes three days and costs 4.90 euros; to Switzerland 9 euros and five days.",
    ),
    ("payment", r"\bpay|invoice|card|paypal", "You can pay by card, by bank transfer or on account."),
    ("gift wrapping", r"gift|wrap|present", "We wrap presents for 2 euros; say so in the order's comment."),
    ("opening hours", r"open|hours|phone|call you", "We are here from Monday to Friday, 9 to 17 o'clock."),
    ("people", r"human|agent|real person|colleague", "A colleague will write to you within a day."),
)
_FALLBACK = "Sorry, I did not understand that. I can help with returns, shipping, payment and gift wrapping."


@dataclass
class Conversation:
    """The state of one visitor's conversation with the help desk."""

    turns: int = 0
    name: str = ""
    topics: list[str] = field(default_factory=list)
    order: str = ""
    #: Detail of the return that is still missing: `number`, `reason` or empty.
    awaiting: str = ""

    def reply(self, message: str) -> str:
        """Returns the reply to `message` and updates the memory."""
        self.turns += 1
        if name := _NAME.search(message):
            self.name = name[1]
        if number := _NUMBER.search(message):
            self.order = number[0]
        if self.awaiting == "reason":
            self.awaiting = ""
            return f"Thank you. Your return number is RET-{self.order}. Send it back within 30 days."
        if self.awaiting == "number" and self.order:
            return self._return()
        if _RECALL.search(message):
            return self._recall()
        for topic, words, answer in _TOPICS:
            if re.search(words, message, re.IGNORECASE):
                self._note(topic)
                return answer or self._return()
        return _FALLBACK

    def _return(self) -> str:
        if not self.order:
            self.awaiting = "number"
            return "I am happy to help with your return. What is your order number?"
        self.awaiting = "reason"
        return f"I have found order {self.order}. Why do you want to return it?"

    def _recall(self) -> str:
        topics = ", ".join(self.topics) or "nothing yet"
        order = f", about order {self.order}" if self.order else ""
        author = f" of {self.name}" if self.name else ""
        return f"This is message {self.turns}{author}. We talked about: {topics}{order}."

    def _note(self, topic: str) -> None:
        if topic not in self.topics:
            self.topics = [*self.topics, topic][-_MAX_TOPICS:]
