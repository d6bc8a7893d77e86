"""Text environment: the person reads variants piece by piece, then answers the questions."""

from typing import Any

from understudy.domain.errors import ValidationError
from understudy.domain.simulation import Action, Element, Json, Observation
from understudy.domain.text import sanitize
from understudy.domain.variants import RATINGS, answer_error, check_variants, labels, segments
from understudy.environments import EnvironmentUnreachable

#: Characters of each variant that the question page repeats as a reminder.
_OPENING_LENGTH = 160

#: Places other than the pieces of a variant.
_ASKED, _ANSWERED = "answer", "answered"


class TextEnvironment:
    """Holds one participant's position in the variants, and the answer.

    `content` is `{"environment": "text", "variants": ["…", …]}`. The person sees one piece at a time. `read`
    shows the next piece, and the questions after the last one. `follow` opens a variant at its beginning, or
    the questions. `answer` is possible at any time and ends the run. A resumed run can read and answer again.
    """

    def __init__(self, content: Json, *, allow_private_hosts: bool) -> None:  # noqa: ARG002 - no network
        # Creation validates the content; `open` reports content that is invalid nevertheless.
        self._variants: list[str] = content.get("variants", [])
        self._labels: list[str] = []
        self._pieces: list[list[str]] = []
        #: `A/1` for the first piece of variant A, or one of the two constants above.
        self._place = ""
        self._answer: Json | None = None
        self._problem = ""
        self._over = False

    async def open(self) -> None:
        """Opens the first piece of the first variant. Raises EnvironmentUnreachable for invalid content."""
        self._load_segments()
        self._place = f"{self._labels[0]}/1"

    async def restore(self, snapshot: Json) -> None:
        """Restores position and answer; the person can answer again."""
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
        title, text = self._current_view()
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
        """Performs the action. An invalid answer becomes a problem and is not recorded."""
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
                self._problem = sanitize(f'The action "{action.kind[:50]}" is not possible here.')

    def snapshot(self) -> Json:
        """Returns position and answer; the texts are in the content."""
        return {"place": self._place, "answer": self._answer, "problem": self._problem}

    async def close(self) -> None:
        """Does nothing: there are no resources."""

    # Position and view

    @property
    def _position(self) -> tuple[int, int] | None:
        """Indexes of variant and piece, from 0; None outside of the variants."""
        label, _, number = self._place.partition("/")
        return (self._labels.index(label), int(number) - 1) if number else None

    def _current_view(self) -> tuple[str, str]:
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
        """Returns links to the variants and to the questions, and the fields of the questions."""
        answer: dict[str, Any] = dict(self._answer or {})
        ratings = answer.get("ratings", {})
        fields = [
            *((f"Variant {label}", "link", f"text://{label}/1", "", ()) for label in self._labels),
            ("Answer", "link", f"text://{_ASKED}", "", ()),
            ("Which one do you pick?", "radio", "", answer.get("pick") or "", (*self._labels, "none")),
            *(
                (f"How good is {label}?", "select", "", str(ratings.get(label, "")), tuple(map(str, RATINGS)))
                for label in self._labels
            ),
            ("Why?", "textarea", "", answer.get("comment", ""), ()),
        ]
        return tuple(
            Element(number, kind, label, href, value, options)
            for number, (label, kind, href, value, options) in enumerate(fields, 1)
        )

    # Actions

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
