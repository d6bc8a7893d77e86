"""What passes between a person, an environment and a mind. Everything that is stored is plain JSON data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

#: A JSON object; what is in it is the affair of the part that wrote it.
Json: TypeAlias = Mapping[str, Any]

_NIL_UUID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Person:
    """Who takes part: a reusable profile."""

    name: str
    age: int
    country: str
    language: str
    #: Named leanings. Numbers run from 0 to 1: patience, curiosity, thoroughness, tech_savviness, …
    traits: Json = field(default_factory=dict)
    bio: str = ""


@dataclass(frozen=True, slots=True)
class Success:
    """When an assignment counts as done; of the conditions given, all must hold. At least one is given."""

    url_contains: str | None = None
    text_contains: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a person was asked to do."""

    task: str
    success: Success | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """Something on a page that can be acted on. `number` is what an Action names as its target."""

    number: int
    #: link, button, text, textarea, select, checkbox, radio
    kind: str
    label: str
    #: Where a link leads; empty for anything else.
    href: str = ""
    #: The value it holds now: text typed, option chosen, "on" for a checked box.
    value: str = ""
    #: What a select or radio group offers.
    options: tuple[str, ...] = ()
    #: The form it belongs to, if any: elements of one form share the number.
    form: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What a person sees now."""

    url: str
    title: str
    text: str = ""
    headings: tuple[str, ...] = ()
    elements: tuple[Element, ...] = ()
    #: HTTP status of the page, if there is one.
    status: int | None = None
    #: What went wrong on the way here, in a person's words; empty if nothing did.
    problem: str = ""
    #: Kinds of Action that mean something here; none named: those of a web page.
    actions: tuple[str, ...] = ()
    #: With the last action all was done that can be done here: the run ends.
    over: bool = False
    #: What the last action brought, where `text` grows by it: a chat's latest reply. None: all is new.
    news: str | None = None
    #: All of the page's text where `text` is the part in view: success is looked for in all of it.
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person does.

    Kinds on web pages: follow, fill, choose, check, press, back, wait; where not all of a page is in view
    also scroll: on to the next part, from the last to the first. In texts: read (on to the next piece),
    follow, and answer, whose value is `{"pick": "A" or null, "ratings": {"A": 4, …}, "comment": "…"}`.
    In chats: say, whose value is the message. Anywhere: finish, give_up.
    """

    kind: str
    #: Number of the element acted on; None where the kind needs none.
    element: int | None = None
    #: The element in words, for whoever reads the journey.
    target: str = ""
    #: A text, or plain JSON where the kind says so.
    value: str | Json | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What asking a language model took."""

    #: Answers asked for, those that failed included.
    calls: int
    input_tokens: int
    output_tokens: int
    #: From the first question to the last answer, waiting for a turn not counted.
    seconds: float
    #: By the prices that are set for the model, in their currency; None without prices.
    cost: float | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a mind made of an observation."""

    thought: str
    action: Action
    #: From -1 (upset) to 1 (delighted).
    sentiment: float
    #: What the mind wants to remember; handed back with the next turn, kept with the interaction.
    memory: Json = field(default_factory=dict)
    #: Of a mind that asked a language model.
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """All that a mind may look at when it decides."""

    person: Person
    assignment: Assignment
    observation: Observation
    #: The latest interactions over the lineage as stored, oldest first (a bounded number of them).
    history: Sequence[Json] = ()
    #: Overriding direction given when the run was taken up again.
    instruction: str | None = None
    #: True on the first own turn of an extended participant: frustration starts fresh.
    resumed: bool = False
    memory: Json = field(default_factory=dict)
    seed: int = 0
    #: Interactions left, this one included.
    remaining: int = 1
    #: Index of the interaction to be decided on.
    index: int = 0
    #: Every instruction of the lineage with the index at which it was given, oldest first; `instruction` is
    #: the last of them.
    instructions: Sequence[tuple[int, str]] = ()
    #: Whose it is: what is shared within a workspace, and within its study or ask, goes by their ids.
    workspace: UUID = _NIL_UUID
    study: UUID = _NIL_UUID


def succeeded(success: Success | None, observation: Observation) -> bool:
    """Does the success condition hold on what is seen now? Both given = both must hold; none given = no."""
    if success is None or (success.url_contains is None and success.text_contains is None):
        return False
    # In a chat the bot has to say it: what the person said counts for nothing.
    seen = observation.text if observation.whole is None else observation.whole
    told = seen if observation.news is None else observation.news
    return (success.url_contains is None or success.url_contains in observation.url) and (
        # Case is a matter of style sheets as much as of authors.
        success.text_contains is None or success.text_contains.casefold() in told.casefold()
    )
