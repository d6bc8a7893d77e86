"""Answers: the values that a person enters, chooses and ticks in forms."""

import re
import unicodedata
from collections.abc import Callable

from understudy.domain.simulation import Element, Person
from understudy.minds.heuristic.goal_parser import Goal
from understudy.minds.heuristic.memory import key_of
from understudy.minds.heuristic.postal_addresses import Place, place_of
from understudy.minds.heuristic.word_stems import concepts, stems

_PLACEHOLDER = re.compile(
    r"\W*|.*\b(?:choose|select|wählen|auswählen|choisir|elija|seleccione|pick one|please)\b.*", re.IGNORECASE
)
_STREETS = ("Station Road 12", "Garden Street 7", "Mill Lane 3", "High Street 48", "Park Avenue 21")
_MARKETING_WORDS = frozenset(
    ("newsletter", "offer", "marketing", "subscribe", "update", "promotion", "werbung", "angebot")
)


def _first(person: Person) -> str:
    return (person.name.split() or ["Alex"])[0]


def _last(person: Person) -> str:
    return (person.name.split() or ["Doe"])[-1]


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return re.sub(r"[^a-z0-9]", "", decomposed.encode("ascii", "ignore").decode())


def _email(person: Person) -> str:
    name = ".".join(filter(None, (_plain(_first(person)), _plain(_last(person))))) or "someone"
    return f"{name}@example.org"


def _digits(person: Person, count: int) -> str:
    return str(int(key_of(person.name, person.age), 16)).zfill(count)[-count:]


def _street(person: Person) -> str:
    return _STREETS[int(key_of(person.name), 16) % len(_STREETS)]


#: Pattern of a field's label -> value. The first match counts, so narrow patterns come first.
_FIELDS: tuple[tuple[str, Callable[[Person, Place], str]], ...] = (
    (r"e-?\s?mail|courriel|correo", lambda person, _: _email(person)),
    (r"user ?name|login|benutzername|identifiant|nickname", lambda person, _: _email(person).split("@")[0]),
    (r"pass ?word|passwort|kennwort|mot de passe|contraseña", lambda person, _: f"Owl-{_digits(person, 6)}"),
    (r"card ?holder|karteninhaber|titulaire", lambda person, _: person.name),
    (r"cvc|cvv|security code|prüfnummer|cryptogramme", lambda *_: "123"),
    (r"expir|valid until|gültig bis", lambda *_: "12/30"),
    (r"card|kreditkarte|kartennummer|carte", lambda *_: "4242 4242 4242 4242"),
    (r"iban|account number|kontonummer", lambda *_: "DE89 3704 0044 0532 0130 00"),
    (
        r"phone|mobile|\btel\b|telefon|téléphone|handy|teléfono",
        lambda person, _: f"+49 30 {_digits(person, 7)}",
    ),
    (r"zip|post(?:al)? ?code|\bplz\b|postleitzahl|code postal|código postal", lambda _, place: place.zip),
    (
        r"first ?name|given ?name|vorname(?!.*nachname)|prénom(?!.*nom)|\bfname\b",
        lambda person, _: _first(person),
    ),
    (r"last ?name|sur ?name|family ?name|^nachname|\blname\b", lambda person, _: _last(person)),
    (r"company|firm|organi[sz]ation|entreprise", lambda *_: "Private"),
    (r"\bage\b|alter\b|\bâge\b", lambda person, _: str(person.age)),
    (r"birth|geburt|naissance", lambda person, _: f"{2025 - person.age:04}-05-17"),
    (r"country|\bland\b|pays\b|país|staat", lambda _, place: place.names[0]),
    (r"city|town|\bort\b|stadt|ville\b|ciudad|suburb", lambda _, place: place.city),
    (r"^(?!.*(?:stra|street|rue)).*(?:house ?n|hausnummer)", lambda person, _: _street(person).split()[-1]),
    (r"address|street|straße|strasse|adresse|\brue\b|dirección|anschrift", lambda person, _: _street(person)),
    (r"state|province|region|county|bundesland", lambda _, place: place.city),
    (r"quantity|qty|amount|menge|anzahl|quantité", lambda *_: "1"),
    (r"date|datum|\bdía\b", lambda *_: "2030-05-17"),
    (r"time|uhrzeit|heure", lambda *_: "10:00"),
    (r"website|homepage|\burl\b", lambda *_: "https://example.org"),
    (r"name|nom\b|nombre", lambda person, _: person.name),
)
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), answer) for pattern, answer in _FIELDS)
_PERSONAL = re.compile("|".join(f"(?:{pattern})" for pattern, _ in _FIELDS if pattern[:4] != "quan"), re.IGNORECASE)
_QUANTITY = re.compile(r"quantity|qty|\bmenge|anzahl|quantité|cantidad", re.IGNORECASE)


def is_personal(element: Element) -> bool:
    """Returns whether the field asks for personal data."""
    return element.kind in ("text", "textarea", "select") and bool(_PERSONAL.search(element.label[:150]))


def is_quantity(element: Element) -> bool:
    return element.kind in ("text", "select") and bool(_QUANTITY.search(element.label[:150]))


def is_required(element: Element) -> bool:
    return "(required)" in element.label or "*" in element.label


def is_unanswered(element: Element) -> bool:
    """Returns whether the field is empty or shows only a placeholder."""
    if element.kind in ("select", "radio"):
        return bool(_PLACEHOLDER.fullmatch(element.value[:100]))
    return not element.value.strip()


def text_for_field(element: Element, person: Person, aim: Goal) -> str:
    """Returns the text that the person types into a field."""
    label = element.label[:150]
    if is_quantity(element):
        return str(aim.quantity or 1)
    for pattern, answer in _COMPILED:
        if pattern.search(label):
            return answer(person, place_of(person.country))[:200]
    if aim.queries:
        return aim.queries[0]
    return "Hello" if element.kind == "textarea" else "none"


def option_for_field(element: Element, person: Person, aim: Goal, chance: float) -> str | None:
    """Returns the option that the person picks; None if only placeholders are offered."""
    real = [option for option in element.options if not _PLACEHOLDER.fullmatch(option[:100])]
    if not real:
        return None
    if is_quantity(element) and str(aim.quantity or 1) in real:
        return str(aim.quantity or 1)
    place = place_of(person.country)
    for name in (*place.names, place.code):
        for option in real:
            if name and name.casefold() in (
                option.casefold(),
                *re.split(r"\s*[/,(|)]\s*", option.casefold()),
            ):
                return option
    matching = max(real, key=lambda option: sum(aim.words.get(word, 0.0) for word in dict.fromkeys(stems(option))))
    if any(word in aim.words for word in stems(matching)):
        return matching
    others = [option for option in real if {"other", "andere", "autre"} & set(stems(option))]
    if others and is_personal(element):
        return others[0]
    return real[int(chance * len(real)) % len(real)]


def should_check(element: Element, aim: Goal) -> bool:
    """Returns whether the person ticks this box."""
    words = set(stems(element.label))
    if words & _MARKETING_WORDS:
        return "subscribe" in aim.wants
    return (
        is_required(element)
        or bool(concepts(element.label) & {"accept", "terms"})
        or any(word in aim.words for word in words)
    )
