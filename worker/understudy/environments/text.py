"""Texts to be judged: variants are read piece by piece, then the person answers."""

from typing import Any

from understudy.domain.errors import ValidationError
from understudy.domain.simulation import Action, Element, Json, Observation
from understudy.domain.text import sanitize
from understudy.domain.variants import RATINGS, answer_error, check_variants, labels, segments
from understudy.environments import EnvironmentUnreachable

#: Characters of each variant that are shown beside the questions, as a reminder.
_OPENING_LENGTH = 160

#: Where a person can be besides the pieces of a variant.
_ASKED, _ANSWERED = "answer", "answered"


class TextEnvironment:
    """One person's reading: where in which variant, and what was answered.

    `content` is `{"environment": "text", "variants": ["…", …]}`. One sees one piece at a time. `read` goes on
    to the next, and after the last to the questions; `follow` turns to a variant from its beginning, or to
    the questions. `answer` can be given at any time and ends the run; taken up again, one may read and answer
    once more.
    """

    def __init__(self, content: Json, *, allow_private_hosts: bool) -> None:  # noqa: ARG002 - goes nowhere
        # A bad one is refused when it is made; what got past that is told as any place that cannot be opened.
        self._variants: list[str] = content.get("variants", [])
        self._labels: list[str] = []
        self._pieces: list[list[str]] = []
        #: `A/1` for the first piece of variant A, or one of the two places above.
        self._place = ""
        self._answer: Json | None = None
        self._problem = ""
        self._over = False

    async def open(self) -> None:
        """At the first piece of the first variant."""
        self._load_segments()
        self._place = f"{self._labels[0]}/1"

    async def restore(self, snapshot: Json) -> None:
        """Where the snapshot was taken; what was answered can be answered anew."""
        self._load_segments()
        self._place = snapshot["place"]
        self._answer = snapshot["answer"]
        self._problem = snapshot["problem"]

    def _load_segments(self) -> None:
        try:
            check_variants(self._variants, "variants")
        except ValidationError as error:
            raise EnvironmentUnreachable(str(error)) from error
        self._labels = labels(self._variants)
        self._pieces = [segments(sanitize(text)) for text in self._variants]

    def observe(self) -> Observation:
        title, text = self._seen()
        return Observation(
            url=f"text://{self._place}",
            title=title,
            text=text,
            headings=tuple(f"Variant {label}" for label in self._labels),
            elements=self._elements(),
            problem=self._problem,
            actions=("follow", "answer") if self._position is None else ("read", "follow", "answer"),
            over=self._over,
        )

    async def act(self, action: Action) -> None:
        """Do it. An answer that is none is told as a problem, and nothing was answered."""
        self._problem, self._over = "", False
        match action.kind:
            case "read":
                self._read_on()
            case "follow":
                self._open_variant(action.element)
            case "answer":
                self._record_answer(action.value)
            case "wait" | "finish" | "give_up":
                pass
            case _:
                self._problem = sanitize(f'Nobody knows how to "{action.kind[:50]}" here.')

    def snapshot(self) -> Json:
        """Where one is and what was answered; the texts are the content's."""
        return {"place": self._place, "answer": self._answer, "problem": self._problem}

    async def close(self) -> None:
        """Nothing is held."""

    # Where one is

    @property
    def _position(self) -> tuple[int, int] | None:
        """Variant and piece, both from 0; None when one is not reading."""
        label, _, number = self._place.partition("/")
        return (self._labels.index(label), int(number) - 1) if number else None

    def _seen(self) -> tuple[str, str]:
        if self._position is not None:
            variant, piece = self._position
            pieces = self._pieces[variant]
            part = f", part {piece + 1} of {len(pieces)}" if len(pieces) > 1 else ""
            return f"Variant {self._labels[variant]}{part}", pieces[piece]
        if self._place == _ANSWERED:
            return "You have answered", self._reminder()
        return "Your answer, please", self._reminder()

    def _reminder(self) -> str:
        openings = (" ".join(pieces[0].split()) for pieces in self._pieces)
        return "\n\n".join(
            f"{label}: {opening[:_OPENING_LENGTH]}{'…' if len(opening) > _OPENING_LENGTH else ''}"
            for label, opening in zip(self._labels, openings, strict=True)
        )

    def _elements(self) -> tuple[Element, ...]:
        """The variants to turn to, the questions, and what they ask; by these numbers they are followed."""
        given: dict[str, Any] = dict(self._answer or {})
        ratings = given.get("ratings", {})
        fields = [
            *((f"Variant {label}", "link", f"text://{label}/1", "", ()) for label in self._labels),
            ("Answer", "link", f"text://{_ASKED}", "", ()),
            ("Which one do you pick?", "radio", "", given.get("pick") or "", (*self._labels, "none")),
            *(
                (f"How good is {label}?", "select", "", str(ratings.get(label, "")), tuple(map(str, RATINGS)))
                for label in self._labels
            ),
            ("Why?", "textarea", "", given.get("comment", ""), ()),
        ]
        return tuple(
            Element(number, kind, label, href, value, options)
            for number, (label, kind, href, value, options) in enumerate(fields, 1)
        )

    # What one does

    def _read_on(self) -> None:
        if self._position is None:
            self._problem = "There is no more to read; turn to a variant to read it again."
            return
        variant, piece = self._position
        if piece + 1 < len(self._pieces[variant]):
            self._place = f"{self._labels[variant]}/{piece + 2}"
        elif variant + 1 < len(self._labels):
            self._place = f"{self._labels[variant + 1]}/1"
        else:
            self._place = _ASKED

    def _open_variant(self, number: int | None) -> None:
        for element in self._elements():
            if element.number == number and element.href:
                self._place = element.href.removeprefix("text://")
                return
        self._problem = f"There is nothing to turn to at {number}."

    def _record_answer(self, value: object) -> None:
        self._problem = answer_error(value, self._labels)
        if not self._problem:
            self._answer, self._place, self._over = sanitize(value), _ANSWERED, True
