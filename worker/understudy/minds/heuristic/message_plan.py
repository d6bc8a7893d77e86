"""Message plan: splits a task into the messages that a person sends to a chatbot."""

import re
from functools import lru_cache

_MAX_POINTS = 12
_MAX_CHARS = 600

_BLANKS = re.compile(r"[^\S\n]+")
_SENTENCES = re.compile(r"(?<=[.!?;]) |\n+| [-\u2013\u2014]+ |,? (?:and )?then ", re.IGNORECASE)
#: A sentence that forbids something yields no message.
_NOT = re.compile(r"(?:please\s+)?(?:stop|don['\u2019]?t|do not|never|avoid|forget|ignore)\b", re.IGNORECASE)
_PLEASE = re.compile(
    r"^(?:please|now|then|next|first|finally|also|and|you (?:want|need|would like) to|try to|go and)\b[\s,]*",
    re.IGNORECASE,
)
_INSTEAD = re.compile(r",? (?:instead|please|now)$", re.IGNORECASE)
_RECIPIENT = (
    r"(?:\s+(?:it|them|him|her|support|somebody|someone|"
    r"the\s+(?:chat\s?bot|bot|assistant|support|shop|agent|help\s?desk)))?"
)
_ASK = re.compile(
    rf"(?:ask|inquire|enquire|check|find out|learn|figure out|get to know|see){_RECIPIENT}"
    r"(?:\s+with\s+\w+)?\s+(.+)",
    re.IGNORECASE | re.DOTALL,
)
_TELL = re.compile(
    rf"(?:tell|say|mention|explain|inform|let){_RECIPIENT}(?:\s+to{_RECIPIENT})?(?:\s+know)?"
    r"(?:\s*[,:]\s*|\s+that\s+|\s+)(.+)",
    re.IGNORECASE | re.DOTALL,
)
_INDIRECT = re.compile(r"(?:whether|if|who|what|when|where|which|why|how)\b", re.IGNORECASE)
_ABOUT = re.compile(r"(?:about|regarding|on)\s+(.+)", re.IGNORECASE | re.DOTALL)
_FOR = re.compile(r"for\s+(.+)", re.IGNORECASE | re.DOTALL)
_TO = re.compile(r"to\s+(.+)", re.IGNORECASE | re.DOTALL)
#: The task addresses the person; the person writes in the first person.
_FIRST_PERSON = (
    (re.compile(r"\byour(?:s)?\b", re.IGNORECASE), "my"),
    (re.compile(r"\byourself\b", re.IGNORECASE), "myself"),
    (re.compile(r"\byou(?: a|['\u2019])re\b", re.IGNORECASE), "I am"),
    (re.compile(r"\b(for|to|with|from|at|of|by|tell|send|give|show) you\b", re.IGNORECASE), r"\1 me"),
    (re.compile(r"\byou\b", re.IGNORECASE), "I"),
)


@lru_cache(maxsize=1_000)
def points(text: str) -> tuple[str, ...]:
    """Returns the messages that request what `text` asks for, in order; empty if it asks for nothing."""
    tidied = _BLANKS.sub(" ", text[:4_000].replace("\r", "\n").strip())
    found = (_point(sentence) for sentence in _SENTENCES.split(tidied))
    return tuple(dict.fromkeys(filter(None, found)))[:_MAX_POINTS]


def _point(sentence: str) -> str:
    said = sentence.strip(" \t\"'")[:_MAX_CHARS]
    if said.endswith("?"):
        return _upper(said)
    said = said.rstrip(".!;,: ")
    while (shorter := _PLEASE.sub("", said)) != said:
        said = shorter
    said = _INSTEAD.sub("", said)
    if not said or _NOT.match(said):
        return ""
    for pattern, word in _FIRST_PERSON:
        said = pattern.sub(word, said)
    if match := _TELL.fullmatch(said):
        return _upper(match[1]) + "."
    if match := _ASK.fullmatch(said):
        return _asked(match[1])
    return f"I would like to {_lower(said)}."


def _asked(rest: str) -> str:
    if match := _ABOUT.fullmatch(rest):
        return f"I have a question about {match[1]}."
    if match := _FOR.fullmatch(rest):
        return f"I would like to have {match[1]}."
    if match := _TO.fullmatch(rest):
        return f"I would like to {match[1]}."
    if _INDIRECT.match(rest):
        return f"Could you tell me {_lower(rest)}?"
    return f"Could you tell me {rest}?"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower(text: str) -> str:
    # Keep "I" and abbreviations in upper case.
    word = text.split(maxsplit=1)[0] if text else ""
    return text if word == "I" or (len(word) > 1 and word.isupper()) else text[:1].lower() + text[1:]
