"""Page features: an observation, classified for the heuristic mind by labels and forms."""

import itertools
import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from understudy.domain.simulation import Element, Observation
from understudy.minds.heuristic.form_values import is_personal, is_quantity
from understudy.minds.heuristic.goal_parser import Goal, prefixes_of
from understudy.minds.heuristic.memory import key_of
from understudy.minds.heuristic.word_stems import concepts, language_of_label, stems

#: Maximum elements that are read; the rest is ignored.
_MAX_ELEMENTS = 1_000

_RAW_WORD = re.compile(r"[\w.]+")
_RESULTS = frozenset(stems("result search found hit match ergebnis ergebnisse treffer suche résultat recherche"))

_FILLABLE = ("text", "textarea", "select", "checkbox", "radio")


class LabelFeatures(NamedTuple):
    """Features of a label and of its link target."""

    words: tuple[str, ...]
    #: The label in lower case, and its words without stemming.
    said: str
    raw: frozenset[str]
    #: Stems of the label, of the path and of both; prefixes of the stems of the label.
    label: frozenset[str]
    path: frozenset[str]
    both: frozenset[str]
    starts: frozenset[str]
    concepts: frozenset[str]
    #: Keys of the element and of the page that it links to.
    key: str
    target: str
    #: Site that it links to.
    site: str


class LabelledElement(NamedTuple):
    """An element with the features of its label."""

    element: Element
    read: LabelFeatures


@dataclass
class FormFeatures:
    """The elements of one form. Add all elements before reading a property: properties are cached."""

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
        """One of language, search, subscribe, login, order, details."""
        typed, said = self.typed, self.concepts
        if not typed and any(is_picker(thing.element) for thing in self.fields):
            return "language"
        buttons = frozenset().union(*(thing.read.concepts for thing in self.buttons))
        if "subscribe" in buttons and len(typed) <= 2:
            return "subscribe"
        if len(typed) == 1 and said & {"search", "lookup"} and not is_personal(typed[0].element):
            return "search"
        if buttons & {"add", "cart", "buy"} and all(is_quantity(t.element) or not _is_typed(t) for t in self.fields):
            return "order"
        if "login" in buttons and len(typed) <= 3:
            return "login"
        return "details"


class PageFeatures:
    """Classifies one observation. 500 links take one or two milliseconds."""

    def __init__(self, seen: Observation, aim: Goal) -> None:
        self.seen = seen
        self.place = key_of(place_of_url(seen.url))
        self.look = key_of(seen.title, seen.status, len(seen.text), seen.text[:2_000], len(seen.elements))
        self.things = [label_element(element) for element in seen.elements[:_MAX_ELEMENTS]]
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
        """Returns a factor per wanted word: the more elements contain it, the lower."""
        wanted = aim.words.keys()
        counts = dict.fromkeys(wanted, 0)
        for thing in self.things:
            for word in wanted & thing.read.both:
                counts[word] += 1
        return {word: 1.0 / (1.0 + math.log1p(max(count - 1, 0)) / 3) for word, count in counts.items()}

    def match(self, thing: LabelledElement, aim: Goal) -> float:
        """Returns how well the element matches the goal; 0 for no match, negative if it is to be avoided."""
        read = thing.read
        if aim.words.keys().isdisjoint(read.both):
            score = 0.0
            if not aim.starts.isdisjoint(read.starts):
                # A shared prefix counts a little: "document" for "documentation".
                score = 0.3 * sum(aim.words[word] for word in aim.words if len(word) > 3 and word[:4] in read.starts)
        else:
            hits, score = 0, 0.0
            # In the order of the goal: a float sum depends on the order, and a set has none.
            for word, weight in aim.words.items():
                if word in read.label:
                    hits += 1
                    score += weight * self._rarity.get(word, 1.0)
                elif word in read.path:
                    score += 0.4 * weight * self._rarity.get(word, 1.0)
            if hits:
                # A label with few other words is a better match.
                score *= 0.6 + 0.4 * hits / len(read.label)
                score += 0.5 * sum(pair in aim.pairs for pair in itertools.pairwise(read.words))
                score += 0.7 * (read.said in aim.exact) + 0.5 * (not aim.exact.isdisjoint(read.raw))
                score += 2.0 * any(name in read.said for name in aim.names)
        return score if aim.avoid.isdisjoint(read.label) else score - 3.0

    def covered(self, aim: Goal) -> float:
        """Returns the share of the goal that title and headings cover, from 0 to 1."""
        # Vague words count only if there are no others.
        specific = {word: weight for word, weight in aim.words.items() if weight > 0.3} or aim.words
        if not specific:
            return 0.0
        said: set[str] = set()
        for heading in (self.seen.title, *self.seen.headings[:5]):
            found = set(stems(heading))
            # A page of results repeats the query, whether it found anything or not.
            if not found & _RESULTS:
                said |= found
        share = sum(weight for word, weight in specific.items() if word in said) / sum(specific.values())
        if share > 0 and aim.names and all(name in self.seen.text.casefold() for name in aim.names):
            # A page about json that mentions `json.dumps` covers it.
            return 1.0
        return share


def site_of_url(url: str) -> str:
    """Returns scheme, host and port of `url`."""
    return "/".join(url.split("/", 3)[:3])


def place_of_url(url: str) -> str:
    """Returns `url` without fragment and trailing slash, which do not change the page."""
    return url.split("#", 1)[0].rstrip("/")


def label_element(element: Element) -> LabelledElement:
    """Returns the element with the features of its label."""
    return LabelledElement(element, _read(element.kind, element.label, element.href))


# Cached: most elements of a page are also on the next one.
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
    # The file ending means nothing; the last parts of a path mean the most.
    tail = "/".join(parts.path.rstrip("/").split("/")[-2:])
    return stems(tail.removesuffix(".html") + " " + parts.query)


def is_picker(element: Element) -> bool:
    """Returns whether the element is a language picker."""
    if element.kind not in ("select", "radio") or not 2 <= len(element.options) <= 100:
        return False
    return sum(language_of_label(option) is not None for option in element.options) * 2 > len(element.options)


def _is_typed(thing: LabelledElement) -> bool:
    return thing.element.kind in ("text", "textarea")
