"""Thoughts: explain a choice in the first person."""

from understudy.minds.heuristic.character import Personality
from understudy.minds.heuristic.choices import Choice
from understudy.minds.heuristic.goal_parser import Goal
from understudy.minds.heuristic.memory import Memory
from understudy.minds.heuristic.word_stems import language_name

_SAID = {
    "matches": (
        "“{label}” sounds like what I am looking for{aim}.",
        "I am after{aim_or_this}, and “{label}” looks closest to it.",
        "“{label}” should bring me closer{aim}.",
    ),
    "explore": (
        "Nothing here speaks to me directly; I'll see what is behind “{label}”.",
        "I don't see it yet. “{label}” may lead somewhere.",
        "Let me look around: “{label}”.",
    ),
    "decline": ("I didn't ask for this: “{label}”.", "Not now. “{label}”."),
    "search": ("I'll search for it{value}.", "Searching is quicker than clicking through all this{value}."),
    "quantity": ("I need{value} of these.",),
    "variant": ("I have to choose one first:{value}.",),
    "add": ("This is what I want, so into the cart it goes.", "Good, I'll take this one."),
    "cart": ("Let me see what is in my cart.", "I have what I want; now to the cart."),
    "checkout": ("Now I want to pay: “{label}” should be the way.", "On to the checkout: “{label}”."),
    "answer": ("They want to know “{label}”; I put in{value}.", "“{label}”: that would be{value}."),
    "tick": ("I have to tick “{label}” to go on.",),
    "send": ("Everything is filled in, so I press “{label}”.", "Done with the form: “{label}”."),
    "back": ("This leads nowhere; I go back.", "Not what I was looking for. Back to where I was."),
    "language": ("I want this in {language}: “{label}”.",),
    "scroll": ("There is more further down.", "Not this part. Let me read on.", "I scroll on."),
    "wait": ("There is nothing I can do here; I wait a moment.",),
}


def thought(choice: Choice, aim: Goal, character: Personality, memory: Memory, problem: str) -> str:
    """Returns the thought for a choice, preceded by the current problem, if any."""
    variants = _SAID[choice.reason]
    said = variants[int(character.random_for(memory.turns, "words") * len(variants)) % len(variants)]
    sought = " ".join(aim.queries[:1])
    filled = said.format(
        label=choice.thing.element.label[:80] if choice.thing else "",
        value=f" “{choice.value[:60]}”" if choice.value else "",
        aim=f" ({sought})" if sought else "",
        aim_or_this=f" “{sought}”" if sought else " this",
        language=language_name(aim.language or ""),
    )
    if not problem:
        return filled
    mood = "Annoying" if memory.frustration > 0.5 else "Hm"
    return f"{mood}: {problem[:150]} {filled}"
