"""Goals: parse what a task, or an instruction that overrides it, asks for."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from understudy.minds.heuristic.word_stems import concepts, language_named, stem, stems

_MAX_TEXT = 4_000
_MAX_WORDS = 24

_CLAUSE = re.compile(
    r"[.;:!?,]\s+|[.;:!?,]$|[\r\n]+|\s+[-\u2013\u2014]+\s+|\b(?:and|then|but|und|dann|aber|et|puis|mais)\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"\b(?:stop|quit|cease|don['\u2019]?t|do not|never|avoid|without|no longer|no more|instead of|forget|"
    r"ignore|rather than|not|nicht|kein\w*|ohne|hör\w* auf|statt|ne pas|sans|arrête\w*)\b(.*)",
    re.IGNORECASE,
)
_END = re.compile(
    r"\W*(?:please\W+)?(?:stop|quit|give up|finish|end)(?:\W+(?:now|here|it|this|please|the run))*\W*",
    re.IGNORECASE,
)
_BUYS = re.compile(
    r"^\W*(?:(?:please|now|go|to|you|want|need|would|like|i|bitte)\W+)*"
    r"(?:buy|order|purchase|pay|check ?out|kauf\w*|bestell\w*|achet\w*|commande[rz]?)\b|"
    r"\bto (?:buy|order|purchase|pay|check ?out)\b|\bplace an? order\b|"
    r"\b(?:put|add|leg\w*|ajoute\w*)\b.*\b(?:cart|basket|warenkorb|panier)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"\u201c\u201e\u00ab']([^\"\u201c\u201d\u00bb']{2,60})[\"\u201c\u201d\u00bb'](?!\w)")
_IDENTIFIER = re.compile(r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\b|\b[A-Za-z]\w*_\w+\b|\b\w+(?=\(\))")
_RAW_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_ONE = re.compile(r"\bones?\b", re.IGNORECASE)
_TOKEN = re.compile(_RAW_WORD.pattern + r"|[.,;:!?]")
_QUANTITY = re.compile(
    r"\b([2-9]|[1-9]\d|two|three|four|five|six|seven|eight|nine|ten|zwei|drei|deux|trois)\b", re.IGNORECASE
)
_NUMBERS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_NUMBERS |= {"zwei": 2, "drei": 3, "deux": 2, "trois": 3}

#: With one of these words, the name of a language is the language to show, not a target.
_PICKS = frozenset(stems("picker language version translation locale switch change set sprache langue"))
_POLITE = frozenset(("please", "bitte", "now", "jetzt"))
_INTO = frozenset(("in", "to", "into", "auf", "en", "zu"))
#: Only in upper case: in lower case most of them are words.
_CODES = frozenset(("DE", "EN", "FR", "ES", "IT", "NL", "PT", "PL", "SV", "DA", "JA", "ZH"))

#: Words that carry no goal: grammar, politeness, and words of every task.
_EMPTY = frozenset(
    word
    for line in (
        "a an the this that these those it its is are was be been of for from to into in on at by with as",
        "and or if so than then there here their his her your my our me you we they i us one any some",
        "something someone anything anyone what which who how when where why do does can could would",
        "should will may must have has had get let make much many out please just now again also very new",
        "next first find look see show tell give go open visit use using try want need like learn about",
        "page site website web link click press read up choose pick select put take step task thing way",
        "own until all each other friend instead keep start stop continue only der die das den dem ein",
        "eine einen einem und oder für von zu im auf mit ist sind bitte finde suche zeige le la les un",
        "une des du de et ou pour dans sur avec est sont trouve cherche voir back around looking finding",
        "opens",
    )
    for word in line.split()
)
#: Words after "search" that name the search field itself.
_BOX = frozenset(stems("box bar field form function"))
#: Words that say little about the target.
_VAGUE = frozenset(stems("documentation information details doc docs product item shop store order cart present"))


@dataclass(frozen=True, slots=True)
class Goal:
    """Describes what to find and what to do with it."""

    #: Stems to find -> weight.
    words: dict[str, float]
    #: First four letters of these stems.
    starts: frozenset[str]
    #: Pairs of adjacent stems.
    pairs: frozenset[tuple[str, str]]
    #: Names to find literally, in lower case.
    names: tuple[str, ...]
    #: Search queries, best first.
    queries: tuple[str, ...]
    #: Full labels to match exactly, in lower case.
    exact: frozenset[str]
    #: Stems to avoid.
    avoid: frozenset[str]
    #: Wanted concepts: buy, cart, search, subscribe, login, …
    wants: frozenset[str]
    #: The goal is a purchase, with cart and checkout.
    buys: bool
    quantity: int | None
    #: Code of the language to show.
    language: str | None
    #: The text says to stop.
    ends: bool

    @property
    def weight(self) -> float:
        return sum(self.words.values())


@lru_cache(maxsize=1_000)
def parse_goal(text: str) -> Goal:
    """Returns the goal of `text`. The negated part of a clause only adds stems to avoid."""
    text = text[:_MAX_TEXT]
    wanted: list[str] = []
    unwanted: list[str] = []
    for clause in _CLAUSE.split(_protected(text)):
        negation = _NEGATED.search(clause)
        wanted.append(clause[: negation.start()] if negation else clause)
        if negation:
            unwanted.append(negation[1])
    says = " . ".join(wanted).replace("\x1f", ".")
    avoided = _avoided(unwanted, says)
    wants = concepts(says)
    language = _language(wanted)
    names = tuple(dict.fromkeys(name.casefold() for name in _IDENTIFIER.findall(says)))
    buys = any(_BUYS.search(clause) for clause in wanted)
    words, runs = _words(says, names, language, buys=buys)
    for word in avoided:
        words.pop(word, None)
    for phrase in _QUOTED.findall(says):
        for word in stems(phrase):
            words[word] = max(words.get(word, 0.0), 2.0)
    quantity = _QUANTITY.search(says)
    stemmed = [stems(run) for run in runs]
    queries = _queries(says, names, runs)
    words = dict(sorted(words.items(), key=lambda item: -item[1])[:_MAX_WORDS])
    return Goal(
        words=words,
        starts=prefixes_of(words),
        pairs=frozenset(pair for run in stemmed for pair in itertools.pairwise(run)),
        names=names,
        queries=queries,
        exact=frozenset(query.casefold() for query in queries),
        avoid=avoided,
        wants=wants,
        buys=buys,
        quantity=_number(quantity[1]) if quantity else None,
        language=language,
        ends=bool(_END.fullmatch(text)),
    )


def _avoided(unwanted: list[str], says: str) -> frozenset[str]:
    avoided: list[str] = []
    for clause in unwanted:
        said = _RAW_WORD.findall(clause.replace("\x1f", "."))
        words = [stem(word) for word in said if not _is_empty(word)]
        if len(words) > 1:
            # "Don't buy the blue mug, take the red one" excludes neither buying nor mugs.
            words = [word for word in words if not concepts(word) & {"buy", "order"}]
            words = words[:-1] if _ONE.search(says) and len(words) > 1 else words
        avoided += words
    return frozenset(avoided)


def _is_empty(word: str) -> bool:
    # Compared without stemming: "opening" in "opening hours" is not "open".
    word = word.casefold()
    return word in _EMPTY or word.removesuffix("s") in _EMPTY


def prefixes_of(words: Iterable[str]) -> frozenset[str]:
    """Returns the first four letters of each word of four or more letters."""
    return frozenset(word[:4] for word in words if len(word) > 3)


def _protected(text: str) -> str:
    """Replaces dots inside names, which must not end a clause."""
    return re.sub(r"(?<=\w)\.(?=\w)", "\x1f", text)


def _words(
    says: str, names: tuple[str, ...], language: str | None, *, buys: bool
) -> tuple[dict[str, float], list[str]]:
    """Returns the weights of the words, and the runs of adjacent significant words."""
    parts = {stem(part) for name in names for part in _RAW_WORD.findall(name)}
    weights: dict[str, float] = {}
    runs: list[str] = []
    run: list[str] = []
    previous = ""
    for token in [*_TOKEN.findall(says), "."]:
        word = stem(token)
        matters = not _is_empty(token) and token[0].isalnum() and not (len(word) == 1 and word.isalpha())
        if matters and language and (language_named(token) == language or word in _PICKS):
            matters = False
        if matters and buys and concepts(token) & {"buy", "order", "add", "cart", "checkout", "pay"}:
            matters = False
        if matters and _QUANTITY.fullmatch(token) and not token.isdigit():
            matters = False
        if concepts(token) == {"search"} or (word in _BOX and previous == "search"):
            matters = False
        previous = word
        if not matters:
            if run:
                runs.append(" ".join(run))
            run = []
            continue
        run.append(token)
        weights[word] = 1.5 if word in parts else 0.3 if word in _VAGUE else 0.5 if word.isdigit() else 1.0
    return weights, runs


def _queries(says: str, names: tuple[str, ...], runs: list[str]) -> tuple[str, ...]:
    """Returns search queries: whole names before their parts, long phrases before short ones."""
    candidates = [*_QUOTED.findall(says), *(name for name in names)]
    candidates += [name.rsplit(".", 1)[0] for name in names] + [name.split(".")[0] for name in names]
    specific = [run for run in runs if not all(stem(word) in _VAGUE for word in run.split())]
    candidates += sorted(specific, key=lambda run: -min(len(run.split()), 3))
    candidates += [run.split()[-1] for run in specific]
    return tuple(dict.fromkeys(" ".join(candidate.split()[:4])[:60] for candidate in candidates))[:6]


def _language(clauses: list[str]) -> str | None:
    for clause in clauses:
        words = [word for word in _RAW_WORD.findall(clause) if word.casefold() not in _POLITE]
        picks = any(stem(word) in _PICKS for word in words)
        for index, word in enumerate(words):
            code = language_named(word) or (word.lower() if word in _CODES else None)
            before = words[index - 1].casefold() if index else ""
            last = index == len(words) - 1
            if code and (picks or (before in _INTO and last) or len(words) == 1):
                return code
    return None


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else _NUMBERS[word.casefold()]
