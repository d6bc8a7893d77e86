"""The data that a person, an environment and a mind exchange. All stored data is plain JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

#: A JSON object; only the component that wrote it interprets it.
Json: TypeAlias = Mapping[str, Any]

_NIL_UUID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Person:
    """A participating person: a reusable profile."""

    name: str
    age: int
    country: str
    language: str
    #: Named traits. Numbers range from 0 to 1: patience, curiosity, thoroughness, tech_savviness, …
    traits: Json = field(default_factory=dict)
    bio: str = ""


@dataclass(frozen=True, slots=True)
class ElementCondition:
    """An element that the page must have: its role, and a part of its name in any case."""

    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Success:
    """The success condition of an assignment. All given conditions must hold; `text_absent` is never the only one.

    Text counts if the site shows it by itself; see `understudy.domain.typed_text`.
    """

    url_contains: str | None = None
    text_contains: str | None = None
    #: A pattern in the syntax of RE2; it matches any part of the address.
    url_matches: str | None = None
    element: ElementCondition | None = None
    text_absent: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """The task of a person."""

    task: str
    success: Success | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a page that a person can act on. An Action targets its `number`."""

    number: int
    #: link, button, text, textarea, select, checkbox, radio
    kind: str
    label: str
    #: Target of a link; empty for other kinds.
    href: str = ""
    #: Current value: text typed, option chosen, "on" for a checked box.
    value: str = ""
    #: Options of a select or radio group.
    options: tuple[str, ...] = ()
    #: Its form, if any: elements of one form share the number.
    form: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """The page, text or chat that a person sees now."""

    url: str
    title: str
    text: str = ""
    headings: tuple[str, ...] = ()
    elements: tuple[Element, ...] = ()
    #: HTTP status of the page, if there is one.
    status: int | None = None
    #: A problem with reaching this page, in a person's words; empty if there was none.
    problem: str = ""
    #: Possible kinds of Action; empty: those of a web page.
    actions: tuple[str, ...] = ()
    #: The last action completed all that is possible here: the run ends.
    over: bool = False
    #: Text added by the last action where `text` grows, such as a chat's latest reply. None: all is new.
    news: str | None = None
    #: The page's whole text if `text` is only the visible part; success conditions use the whole text.
    whole: str | None = None
    #: The page has more text or controls than `whole` or `text` and `elements` show.
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a person.

    Kinds on web pages: follow, fill, choose, check, press, back, wait. If only part of a page is visible also
    scroll: shows the next part, and after the last the first. In texts: read (shows the next piece), follow,
    answer. The value of answer is `{"pick": "A" or null, "ratings": {"A": 4, …}, "comment": "…"}`. In chats:
    say, with the message as value. In all environments: finish, give_up.
    """

    kind: str
    #: Number of the target element; None if the kind has no target.
    element: int | None = None
    #: The element in words, for readers of the journey.
    target: str = ""
    #: A text, or plain JSON if the kind requires it.
    value: str | Json | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of language models."""

    #: Requested answers, including failed ones.
    calls: int
    input_tokens: int
    output_tokens: int
    #: Seconds from the first request to the last answer, without waiting for a slot.
    seconds: float
    #: From the prices set for the model, in their currency; None without prices.
    cost: float | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a mind on an observation."""

    thought: str
    action: Action
    #: From -1 (upset) to 1 (delighted).
    sentiment: float
    #: Memory of the mind; passed with the next turn, stored with the interaction.
    memory: Json = field(default_factory=dict)
    #: Set by a mind that called a language model.
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """All inputs of a mind's decision."""

    person: Person
    assignment: Assignment
    observation: Observation
    #: The latest interactions over the lineage as stored, oldest first (a bounded number of them).
    history: Sequence[Json] = ()
    #: Overriding instruction of the extend.
    instruction: str | None = None
    #: True on the first own turn of an extended participant: frustration restarts.
    resumed: bool = False
    memory: Json = field(default_factory=dict)
    seed: int = 0
    #: Remaining interactions, including this one.
    remaining: int = 1
    #: Index of the interaction to decide on.
    index: int = 0
    #: Each instruction of the lineage with its branch point, oldest first; `instruction` is the last of them.
    instructions: Sequence[tuple[int, str]] = ()
    #: Ids of its workspace, and of its study or ask; data shared within these is keyed by them.
    workspace: UUID = _NIL_UUID
    study: UUID = _NIL_UUID
    #: Name of its workspace.
    workspace_name: str = ""
