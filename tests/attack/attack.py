"""An attack on the API: requests, what must come back, and what came back."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.attack.target import Target
from tests.contract.manual_worker import dump_tables

#: Columns of the table.
HEADING = ("attack", "sent", "a request", "expected", "its answer", "result")
LAYOUT = "{:31} {:>4}  {:46.46} {:48} {:46.46} {}"


class Answer(NamedTuple):
    """One request of an attack, shortened, with its answer."""

    sent: str
    came: str
    holds: bool


class Attack(NamedTuple):
    """A row of the table: an attack with all its variants."""

    name: str
    expected: str
    send: Callable[[Target], Iterator[Answer]]
    #: It creates objects of its own workspace; else it may change no row of the store.
    writes: bool = False
    #: It belongs to the part that runs with the tests.
    is_quick: bool = True


class Result(NamedTuple):
    """The result of an attack."""

    attack: Attack
    answers: Sequence[Answer]

    @property
    def failures(self) -> Sequence[Answer]:
        """Returns the answers that do not hold."""
        return [answer for answer in self.answers if not answer.holds]

    @property
    def holds(self) -> bool:
        return not self.failures

    def line(self) -> str:
        """Returns a row of the table, with the first answer that does not hold, or else the first one."""
        shown = (self.failures or self.answers)[0]
        cells = (self.attack.name, len(self.answers), _short(shown.sent), self.attack.expected, _short(shown.came))
        return LAYOUT.format(*cells, "holds" if self.holds else "DOES NOT HOLD")


def run(attack: Attack, target: Target) -> Result:
    """Sends all variants; also compares the store with that before, and asks whether the API still answers."""
    before = dump_tables(target.store)
    answers = list(attack.send(target))
    after = before if attack.writes else dump_tables(target.store)
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        answers.append(Answer("the rows of the store", f"changed: {', '.join(changed)}", holds=False))
    health = target.rival.http.get("/healthz").status_code
    answers.append(Answer("GET /healthz afterwards", str(health), health == 200))
    if "Traceback" in target.log():
        answers.append(Answer("the log of the API", "has a traceback", holds=False))
    return Result(attack, answers)


def _short(text: str) -> str:
    text = text.encode("ascii", "backslashreplace").decode().replace("\r", "\\r").replace("\n", "\\n")
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
