"""Choices: the possible actions on a page, each with a score."""

from collections.abc import Iterator
from typing import NamedTuple

from understudy.domain.simulation import Person
from understudy.minds.heuristic.character import Personality
from understudy.minds.heuristic.form_values import (
    is_personal,
    is_quantity,
    is_required,
    is_unanswered,
    option_for_field,
    should_check,
    text_for_field,
)
from understudy.minds.heuristic.goal_parser import Goal
from understudy.minds.heuristic.memory import Memory, key_of
from understudy.minds.heuristic.page_features import FormFeatures, LabelledElement, PageFeatures, is_picker, site_of_url
from understudy.minds.heuristic.word_stems import language_of_label

_MAX_QUERIES = 4


class Choice(NamedTuple):
    """One possible action. `reason` selects the thought that goes with it."""

    score: float
    kind: str
    reason: str
    thing: LabelledElement | None = None
    value: str | None = None
    #: Key under which the try is counted; empty: it is not counted.
    key: str = ""


class Choices:
    """Scores all possible actions of one turn."""

    def __init__(self, view: PageFeatures, aim: Goal, person: Person, character: Personality, memory: Memory) -> None:
        self._view = view
        self._aim = aim
        self._person = person
        self._character = character
        self._memory = memory
        self._covered = view.covered(aim)
        self._repeated_links = frozenset(memory.repeated_links)
        self._jitter = character.jitter(memory.turns)
        self._trouble = bool(view.seen.problem)
        self._is_offer = any(form.purpose == "subscribe" for form in view.forms.values())

        links = [thing for thing in view.things if thing.element.kind == "link"]
        self._site = site_of_url(view.seen.url)
        self._has_links = bool(links)
        self._has_new_links = not all(thing.read.key in self._repeated_links for thing in links)

    def best(self) -> Choice | None:
        """Returns the choice with the highest score, the first of equals; None if there is no choice."""
        return max(self._all(), key=lambda choice: choice.score, default=None)

    def _all(self) -> Iterator[Choice]:
        handled: set[int] = set()
        for number, form in self._view.forms.items():
            choice = self._of_form(number, form)
            if choice is not None:
                yield choice
            if form.purpose != "details" or form.fields:
                handled.add(number)
        for thing in self._view.things:
            if thing.element.kind == "link":
                yield self._of_link(thing)
            elif thing.element.kind == "button" and thing.element.form not in handled:
                score, reason = self._label_score(thing)
                yield self._pressing(thing, score - 0.2, reason)
        if self._memory.depth > 0:
            yield self._going_back()

    # Forms

    def _of_form(self, number: int, form: FormFeatures) -> Choice | None:
        match form.purpose:
            case "search":
                return self._search_choice(number, form)
            case "order":
                return self._add_choice(form) if self._aim.buys else None
            case "language":
                return None
            case "subscribe" | "login" as purpose if purpose not in self._aim.wants:
                return None
        return self._answering(form) if self._is_to_be_sent(form) else None

    def _search_choice(self, number: int, form: FormFeatures) -> Choice | None:
        field, memory = form.typed[0], self._memory
        asked = bool(memory.searches) and field.element.value == memory.searches[-1]
        if asked and (memory.last_kind, memory.last_reason) == ("fill", "search"):
            return self._submitting(form, 4.0, "search")
        fresh = [query for query in self._aim.queries if query not in memory.searches]
        if not fresh or len(memory.searches) >= _MAX_QUERIES or "search" in self._aim.avoid:
            return None
        score = 0.6 + 0.9 * self._character.tech_savviness + 0.4 * self._chance("search", number)
        score -= 0.7 * len(memory.searches) + 1.5 * (self._covered > 0.6)
        if self._aim.buys and memory.in_cart:
            score -= 3.0
        if "search" in self._aim.wants and not memory.searches:
            score += 4.5
        return Choice(score, "fill", "search", field, fresh[0], key_of("search", number))

    def _add_choice(self, form: FormFeatures) -> Choice | None:
        if self._memory.in_cart:
            return None
        for thing in form.fields:
            wanted = self._aim.quantity
            if wanted and is_quantity(thing.element) and thing.element.value != str(wanted):
                kind = "choose" if thing.element.kind == "select" else "fill"
                if kind == "fill" or str(wanted) in thing.element.options:
                    return Choice(3.6, kind, "quantity", thing, str(wanted))
            if thing.element.kind in ("select", "radio") and is_unanswered(thing.element):
                option = option_for_field(thing.element, self._person, self._aim, self._chance(thing.read.key))
                if option is not None:
                    return Choice(3.6, "choose", "variant", thing, option)
        # A person who has seen a match takes no other item; the demands fall with the number of turns.
        needed = 0.6 if self._memory.best > 0.3 else 0.0
        if self._memory.turns > 10:
            needed -= 0.35 * (1.0 - self._character.patience)
        if self._covered < needed:
            return None
        return self._submitting(form, 3.2, "add")

    def _is_to_be_sent(self, form: FormFeatures) -> bool:
        """Returns whether sending this form serves the goal."""
        personal = [thing for thing in form.fields if is_personal(thing.element)]
        if self._aim.buys:
            return self._memory.in_cart and bool(personal)
        if form.concepts & self._aim.wants & {"subscribe", "login", "register"}:
            return True
        about = set().union(*(thing.read.words for thing in (*form.fields, *form.buttons)))
        return bool(about & self._aim.words.keys()) or (bool(personal) and self._covered > 0.4)

    def _answering(self, form: FormFeatures) -> Choice | None:
        """Returns the next field to fill in; the button if none is left."""
        sent_before = any(self._tried(thing) for thing in form.buttons)
        careful = self._character.thoroughness > 0.35 or self._trouble or sent_before
        for thing in form.fields:
            element = thing.element
            if element.kind == "checkbox":
                if should_check(element, self._aim) and not element.value:
                    return Choice(3.8, "check", "tick", thing)
            elif not is_unanswered(element) or not (careful or is_required(element)):
                continue
            elif element.kind in ("text", "textarea"):
                answer = text_for_field(element, self._person, self._aim)
                if answer and element.value != answer:
                    return Choice(3.8, "fill", "answer", thing, answer)
            else:
                option = option_for_field(element, self._person, self._aim, self._chance(thing.read.key))
                if option is not None and option != element.value:
                    return Choice(3.8, "choose", "answer", thing, option)
        return self._submitting(form, 3.9, "send")

    def _submitting(self, form: FormFeatures, score: float, reason: str) -> Choice | None:
        def fits(button: LabelledElement) -> int:
            good = {"search": {"search", "lookup"}, "add": {"add", "cart", "buy"}}
            wanted = good.get(reason, {"order", "pay", "buy", "submit", "confirm", "subscribe", "login", "register"})
            return len(button.read.concepts & wanted) - 2 * len(button.read.concepts & {"remove", "no"})

        button = max(form.buttons, key=fits, default=None)
        if button is None:
            # Without a button, press Enter in a field.
            button = form.typed[0] if form.typed else None
        if button is None:
            return None
        # Pressing again with other field values counts as a new try.
        values = key_of(*(thing.element.value for thing in form.fields))
        return self._pressing(button, score, reason, values)

    def _pressing(self, button: LabelledElement, score: float, reason: str, values: str = "") -> Choice:
        key = key_of(self._view.place, button.read.key, values)
        score -= 1.6 * self._memory.tried.get(key, 0)
        return Choice(score, "press", reason, button, key=key)

    # Links

    def _of_link(self, thing: LabelledElement) -> Choice:
        memory = self._memory
        key = self._view.place + thing.read.key
        target = thing.read.target
        score, reason = self._label_score(thing)
        if self._aim.buys:
            score, reason = self._checkout_score(thing, score, reason)
        if self._is_offer and "no" in thing.read.concepts and key not in memory.tried:
            # Declining an offer leads back to the intended page.
            return Choice(score, "follow", "decline", thing, key=key)
        score -= 0.8 * memory.seen.get(target, 0) + 1.2 * memory.tried.get(key, 0)
        if target == self._view.place:
            score -= 1.0
        if thing.read.site != self._site:
            # The task is about this site, not about another one.
            score -= 0.6
        if thing.read.key in self._repeated_links:
            score -= 0.15
        return Choice(score, "follow", reason, thing, key=key)

    def _label_score(self, thing: LabelledElement) -> tuple[float, str]:
        """Returns the score of a link or button by its label, and the reason."""
        aim, said = self._aim, thing.read.concepts
        match = self._view.match(thing, aim)
        score = match + self._jitter(thing.read.key) * (0.2 + 0.5 * self._character.curiosity)
        if match > 0.0:
            return score, "matches" if match > 0.3 else "explore"
        wanted = said & aim.wants - {"lookup"}
        score += 1.0 if wanted and "index" not in wanted else 0.0
        if said & {"legal", "login", "subscribe", "remove"} and not wanted:
            score -= 0.7
        if "index" in said or "next" in said:
            score += 0.2 if self._covered < 0.6 else 0.0
        if "no" in said and self._is_offer and len(thing.read.words) <= 5:
            score += 1.8
        if language_of_label(thing.element.label) is not None:
            score -= 2.0
        if said & aim.avoid:
            score -= 3.0
        return score, "explore"

    def _checkout_score(self, thing: LabelledElement, score: float, reason: str) -> tuple[float, str]:
        said = thing.read.concepts
        if self._memory.in_cart:
            if "checkout" in said or ("order" in said and "cart" not in said):
                return 3.2, "checkout"
            if "cart" in said:
                return 2.6, "cart"
            if "continu" in said:
                # The label sounds right; a person used to online shops trusts it less.
                unsure = 1.0 - self._character.tech_savviness
                return 1.6 + 2.0 * unsure * self._jitter(thing.read.key), "checkout"
            return score - 0.6, reason
        if said & {"cart", "checkout", "pay"}:
            return score - 1.0, reason
        if "buy" in said or "add" in said:
            return score + 1.0, "add"
        if self._memory.best <= 0.3 and not said & {"index", "legal", "login"}:
            # Nothing here matches the task: an alternative is acceptable.
            return score + 0.3, reason
        return score, reason

    def _going_back(self) -> Choice:
        memory, seen = self._memory, self._view.seen
        score = 0.1 + 0.2 * self._chance("back") - 0.4 * (memory.last_kind == "back")
        if (seen.status is not None and seen.status >= 400) or not self._has_links:
            score += 1.2
        elif seen.problem and memory.last_kind != "back":
            score += 0.3
        elif memory.last_reason == "search" and memory.last_kind == "press":
            score += 0.5
        elif not self._has_new_links:
            score += 0.35
        if self._aim.buys and memory.in_cart:
            score -= 0.6
        key = key_of(self._view.place, "back")
        return Choice(score - 0.5 * memory.tried.get(key, 0), "back", "back", key=key)

    def _tried(self, thing: LabelledElement) -> bool:
        return key_of(self._view.place, thing.read.key, "sent") in self._memory.tried

    def _chance(self, *parts: object) -> float:
        return self._character.random_for(self._memory.turns, *parts)


def picking(view: PageFeatures, code: str, memory: Memory) -> Choice | None:
    """Returns the next step to switch the site to language `code`; None if done or not possible here."""
    for thing in view.things:
        if not is_picker(thing.element):
            continue
        option = next((option for option in thing.element.options if language_of_label(option) == code), None)
        if option is None:
            continue
        if language_of_label(thing.element.value) != code:
            memory.instruction_step, memory.instruction_page = 1, view.look
            return Choice(9.0, "choose", "language", thing, option)
        if memory.instruction_step == 1 and memory.instruction_page == view.look:
            memory.instruction_step = 2
            form = view.forms.get(thing.element.form) if thing.element.form is not None else None
            button = form.buttons[0] if form and form.buttons else thing
            return Choice(9.0, "press", "language", button)
        memory.instruction_done = True
        return None
    clickable = [thing for thing in view.things if thing.element.kind in ("link", "button")]
    named = [(thing, language_of_label(thing.element.label)) for thing in clickable]
    several = len({found for _, found in named if found}) > 1
    for thing, found in named:
        # A single "It" or "Hi" is not a language.
        if found == code and (several or len(thing.element.label.strip()) > 2):
            memory.instruction_step, memory.instruction_done = 2, True
            return Choice(9.0, "follow" if thing.element.kind == "link" else "press", "language", thing)
    memory.instruction_tries += 1
    memory.instruction_done = memory.instruction_tries > 15
    for thing in clickable:
        key = view.place + thing.read.key
        if "language" in thing.read.concepts and thing.element.kind == "link" and key not in memory.tried:
            return Choice(9.0, "follow", "language", thing, key=key)
    return None
