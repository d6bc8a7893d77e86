"""View: an observation as the heuristic mind sorts it: what each thing is for, and what belongs together."""

import itertools
import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from understudy.domain.simulation import Element, Observation
from understudy.minds.answers import is_personal, is_quantity
from understudy.minds.goals import Goal, prefixes_of
from understudy.minds.memory import key_of
from understudy.minds.word_stems import concepts, language_of_label, stems

#: Nobody looks at more.
_LOOKED_AT = 1_000

_RAW_WORD = re.compile(r"[\w.]+")
_RESULTS = frozenset(
    stems("result search found hit match ergebnis ergebnisse treffer suche résultat recherche")
)

_FILLABLE = ("text", "textarea", "select", "checkbox", "radio")


class LabelFeatures(NamedTuple):
    """What the mind reads in a label and where it leads."""

    words: tuple[str, ...]
    #: The label in lower case, and its words as they are written.
    said: str
    raw: frozenset[str]
    #: Stems of the label, of the path and of both; the first letters of the former.
    label: frozenset[str]
    path: frozenset[str]
    both: frozenset[str]
    starts: frozenset[str]
    concepts: frozenset[str]
    #: Short names: of the thing, and of the page it leads to.
    key: str
    target: str
    #: The site it leads to.
    site: str


class LabelledElement(NamedTuple):
    """An element, read."""

    element: Element
    read: LabelFeatures


@dataclass
class FormFeatures:
    """The elements of one form. Complete before anything is asked of it."""

    fields: list[LabelledElement]
    buttons: list[LabelledElement]

    @cached_property
    def concepts(self) -> frozenset[str]:
        return frozenset().union(*(thing.read.concepts for thing in (*self.fields, *self.buttons)))

    @cached_property
    def typed(self) -> list[LabelledElement]:
        return [thing for thing in self.fields if thing.element.kind in ("text", "textarea")]

    @cached_property
    def purpose(self) -> str:
        """language, search, subscribe, login, order or details."""
        typed, said = self.typed, self.concepts
        if not typed and any(is_picker(thing.element) for thing in self.fields):
            return "language"
        buttons = frozenset().union(*(thing.read.concepts for thing in self.buttons))
        if "subscribe" in buttons and len(typed) <= 2:
            return "subscribe"
        if len(typed) == 1 and said & {"search", "lookup"} and not is_personal(typed[0].element):
            return "search"
        if buttons & {"add", "cart", "buy"} and all(
            is_quantity(t.element) or not _is_typed(t) for t in self.fields
        ):
            return "order"
        if "login" in buttons and len(typed) <= 3:
            return "login"
        return "details"


class PageFeatures:
    """One observation, sorted. Cheap: half a thousand links take a millisecond or two."""

    def __init__(self, seen: Observation, aim: Goal) -> None:
        self.seen = seen
        self.place = key_of(place_of_url(seen.url))
        self.look = key_of(seen.title, seen.status, len(seen.text), seen.text[:2_000], len(seen.elements))
        self.things = [label_element(element) for element in seen.elements[:_LOOKED_AT]]
        self.forms: dict[int, FormFeatures] = {}
        for thing in self.things:
            form = thing.element.form
            if form is None:
                continue
            group = self.forms.setdefault(form, FormFeatures([], []))
            if thing.element.kind in _FILLABLE:
                group.fields.append(thing)
            elif thing.element.kind == "button":
                group.buttons.append(thing)
        self._rarity = self._rarities(aim)

    def _rarities(self, aim: Goal) -> dict[str, float]:
        """A word that every link has tells little about any of them."""
        wanted = aim.words.keys()
        counts = dict.fromkeys(wanted, 0)
        for thing in self.things:
            for word in wanted & thing.read.both:
                counts[word] += 1
        return {word: 1.0 / (1.0 + math.log1p(max(count - 1, 0)) / 3) for word, count in counts.items()}

    def match(self, thing: LabelledElement, aim: Goal) -> float:
        """How much the thing sounds like what is looked for; 0 if not at all."""
        read = thing.read
        if aim.words.keys().isdisjoint(read.both):
            score = 0.0
            if not aim.starts.isdisjoint(read.starts):
                # "document" for "documentation".
                score = 0.3 * sum(
                    aim.words[word] for word in aim.words if len(word) > 3 and word[:4] in read.starts
                )
        else:
            hits, score = 0, 0.0
            # In the order of the aim: sums of a set would depend on its order.
            for word, weight in aim.words.items():
                if word in read.label:
                    hits += 1
                    score += weight * self._rarity.get(word, 1.0)
                elif word in read.path:
                    score += 0.4 * weight * self._rarity.get(word, 1.0)
            if hits:
                # What says nothing else is more to the point.
                score *= 0.6 + 0.4 * hits / len(read.label)
                score += 0.5 * sum(pair in aim.pairs for pair in itertools.pairwise(read.words))
                score += 0.7 * (read.said in aim.exact) + 0.5 * (not aim.exact.isdisjoint(read.raw))
                score += 2.0 * any(name in read.said for name in aim.names)
        return score if aim.avoid.isdisjoint(read.label) else score - 3.0

    def covered(self, aim: Goal) -> float:
        """How much of what is looked for this page is about, going by title and headings; from 0 to 1."""
        # Words that say little count only where there are no others.
        telling = {word: weight for word, weight in aim.words.items() if weight > 0.3} or aim.words
        if not telling:
            return 0.0
        said: set[str] = set()
        for heading in (self.seen.title, *self.seen.headings[:5]):
            heard = set(stems(heading))
            # A page of results says again what was searched for, found or not.
            if not heard & _RESULTS:
                said |= heard
        share = sum(weight for word, weight in telling.items() if word in said) / sum(telling.values())
        if share > 0 and aim.names and all(name in self.seen.text.casefold() for name in aim.names):
            # `json.dumps` is on the page about json.
            return 1.0
        return share


def site_of_url(url: str) -> str:
    """Scheme, host and port of `url`."""
    return "/".join(url.split("/", 3)[:3])


def place_of_url(url: str) -> str:
    """`url` without what does not make it another page."""
    return url.split("#", 1)[0].rstrip("/")


def label_element(element: Element) -> LabelledElement:
    """The element, read."""
    return LabelledElement(element, _read(element.kind, element.label, element.href))


# Most of a page is on the next one, too.
@lru_cache(maxsize=20_000)
def _read(kind: str, label: str, href: str) -> LabelFeatures:
    words = stems(label)
    said = label[:150].strip().casefold()
    path = frozenset(_path(href)) if href else frozenset()
    return LabelFeatures(
        words=words,
        said=said,
        raw=frozenset(_RAW_WORD.findall(said)),
        label=frozenset(words),
        path=path,
        both=path.union(words),
        starts=prefixes_of(words),
        concepts=concepts(label),
        key=key_of(kind, label[:100], href),
        target=key_of(place_of_url(href)),
        site=site_of_url(href),
    )


def _path(href: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(href[:500])
    except ValueError:
        return ()
    # File endings and parameter names mean nothing; the last parts of a path mean most.
    tail = "/".join(parts.path.rstrip("/").split("/")[-2:])
    return stems(tail.removesuffix(".html") + " " + parts.query)


def is_picker(element: Element) -> bool:
    """Is this where the language is chosen?"""
    if element.kind not in ("select", "radio") or not 2 <= len(element.options) <= 100:
        return False
    return sum(language_of_label(option) is not None for option in element.options) * 2 > len(element.options)


def _is_typed(thing: LabelledElement) -> bool:
    return thing.element.kind in ("text", "textarea")
