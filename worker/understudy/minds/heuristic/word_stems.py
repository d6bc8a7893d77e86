"""Word stems: reduce words to stems, and to concepts that are independent of language.

A concept groups words that sites use for the same thing in several languages.
"""

import re
from functools import lru_cache

#: Characters of a label that are read; the rest is ignored.
_MAX_CHARS = 300

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-Z])")

#: Concept: prefixes of words that mean it; `=` marks a whole word.
_CONCEPTS = """
cart: cart basket warenkorb einkaufswagen panier carrito cesta carrello winkelwagen varukorg
add: =add =adding hinzufüg =leg ajout añad aggiung
checkout: checkout =kasse =caisse =cassa
pay: =pay =payment =paid bezahl zahlung payer paiement pagar
order: =order =orders =ordering bestell command pedido ordinar
buy: =buy =buying purchas =kauf kaufen jetztkauf acheter achat comprar
remove: remov delet entfern lösch retir supprim elimin
search: search suche recherch buscar cerca
lookup: =find =go =get =look =lookup =los =ok =query =key =keyword =keywords =q =term
subscribe: subscri newslet abonn abonnier
login: =login =signin anmeld einlogg connexion connecter =konto =account =logout abmeld
register: regist signup =join
no: =no =not =nein =non =skip dismiss =close schließ fermer =without
thanks: =thank =thanks =dank =danke =merci =gracias
later: =later später =tard
continu: continu =weiter =proceed fortfahr
next: =next nächst suivant siguiente =more mehr weitere
accept: accept =agree akzept zustimm einverstand acepto
terms: =term =terms condition bedingung =agb =cgv policy datenschutz
legal: privacy imprint impressum legal cookie datenschutz =about =über =uns =us =propos
legal: shipping versand livraison contact kontakt =help =hilfe =aide =faq
legal: career karriere press facebook instagram twitter
confirm: confirm bestätig success erfolgreich
language: =language =languages sprach langue idioma
index: =index =content =contents catalog katalog =overview übersicht =list =module =modules
index: =all =alle =tous =toutes browse =product =products =shop produkt produit
index: categor kategor =topic =topics =home startseite accueil
submit: =submit =send =save senden absend speicher envoy enregistr valider =apply
"""

_PREFIXES: list[tuple[str, str]] = []
_EXACT: dict[str, frozenset[str]] = {}
for _line in _CONCEPTS.strip().splitlines():
    _concept, _, _forms = _line.partition(": ")
    for _form in _forms.split():
        if _form.startswith("="):
            _EXACT[_form[1:]] = _EXACT.get(_form[1:], frozenset()) | {_concept}
        else:
            _PREFIXES.append((_form, _concept))

_ALL_PREFIXES = tuple(prefix for prefix, _ in _PREFIXES)

_KEPT_S = ("ss", "us", "is")
_HISSING = ("s", "x", "z", "ch", "sh")


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Returns `word` in lower case without English inflections."""
    word = word.casefold().replace("\u2019", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith("es") and word[:-2].endswith(_HISSING):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(_KEPT_S):
        word = word[:-1]
    for ending in ("ing", "ed"):
        bare = word.removesuffix(ending)
        if bare != word and len(bare) > 3:
            # shopping -> shop, but calling -> call
            return bare[:-1] if bare[-1] == bare[-2] and bare[-1] not in "lsz" else bare
    return word


@lru_cache(maxsize=20_000)
def stems(text: str) -> tuple[str, ...]:
    """Returns the stems of the words of `text`, in order. `json.dumps` has two, `addToCart` three."""
    return tuple(stem(word) for word in _WORD.findall(_CAMEL.sub(" ", text[:_MAX_CHARS])))


@lru_cache(maxsize=20_000)
def concepts(text: str) -> frozenset[str]:
    """Returns the concepts of the words of `text`."""
    return frozenset().union(*map(_concepts_of_word, _WORD.findall(text[:_MAX_CHARS])))


@lru_cache(maxsize=20_000)
def _concepts_of_word(word: str) -> frozenset[str]:
    word = word.casefold()
    found = _EXACT.get(word, frozenset())
    if word.startswith(_ALL_PREFIXES):
        found = found.union(concept for prefix, concept in _PREFIXES if word.startswith(prefix))
    return found


#: Names of each language: in English, in the language itself, and in others.
_LANGUAGES = {
    "ar": "arabic العربية arabisch arabe",
    "cs": "czech čeština",
    "da": "danish dansk",
    "de": "german deutsch allemand alemán tedesco duits",
    "el": "greek ελληνικά",
    "en": "english englisch anglais inglés inglese engels",
    "es": "spanish español espanol spanisch espagnol castellano",
    "fi": "finnish suomi",
    "fr": "french français francais französisch francés frans",
    "he": "hebrew עברית",
    "hi": "hindi हिन्दी",
    "hu": "hungarian magyar",
    "id": "indonesian",
    "it": "italian italiano italienisch italien",
    "ja": "japanese 日本語",
    "ko": "korean 한국어",
    "nb": "norwegian norsk bokmål",
    "nl": "dutch nederlands niederländisch néerlandais",
    "pl": "polish polski polnisch polonais",
    "pt": "portuguese português portugues portugiesisch portugais",
    "ro": "romanian română",
    "ru": "russian русский russisch russe",
    "sv": "swedish svenska",
    "tr": "turkish türkçe",
    "uk": "ukrainian українська",
    "zh": "chinese 中文 简体中文 繁體中文",
}
_CODE_OF = {name: code for code, names in _LANGUAGES.items() for name in names.split()}
_REGIONS = frozenset("us gb uk at ch ca br mx be au ie tw cn hk simplified traditional".split())  # noqa: SIM905
_LABEL_WORD = re.compile(r"[^\W\d_]+")


def language_named(word: str) -> str | None:
    """Returns the code of the language with this name (`German`, `Deutsch`); None if unknown."""
    return _CODE_OF.get(word.casefold())


def language_name(code: str) -> str:
    """Returns the English name of a language; the code itself if unknown."""
    return _LANGUAGES[code].split()[0].capitalize() if code in _LANGUAGES else code


@lru_cache(maxsize=5_000)
def language_of_label(label: str) -> str | None:
    """Returns the language of a picker's option (`DE`, `Deutsch`, `German (de-AT)`); None if it is none."""
    words = _LABEL_WORD.findall(label[:60])
    if not 0 < len(words) <= 4:
        return None
    code = None
    for word in words:
        folded = word.casefold()
        named = _CODE_OF.get(folded) or (folded if folded in _LANGUAGES else None)
        if named is None and folded not in _REGIONS:
            return None
        code = code or named
    return code
