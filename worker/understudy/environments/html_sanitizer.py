"""Markup: make HTML safe for the parser.

The parser's time and memory grow with the square of the depth, of a tag's attributes and of unclosed
formatting: 500 kB of `<div>` take it a minute, 32 KiB of `<p><font a=1>` take 700 MB. HTML that is long or has
much formatting is therefore rewritten first, in one linear pass: every tag closed, every attribute quoted, the
depth limited, formatting renamed to `span`. The time of the parser then grows with the length only.
"""

import re

from understudy.environments.page import words

#: HTML within these limits parses fast, whatever it contains.
_FEW_TAGS = 1_000
_FEW_CHARS = 32_768
#: The parser repeats unclosed formatting in each paragraph: at most tags times formatting tags in all.
_FEW_NODES = 4_000

_MAX_TAGS = 40_000
_MAX_DEPTH = 200
_MAX_NESTED_LINKS = 24
#: Options in a row. The parser's time for a select grows with the square of their number.
_MAX_OPTIONS = 1_000

_TOKEN = re.compile(
    r"""
    <!--(?:-?>|.*?(?:--!?>|\Z))
    | <(?:svg|math)(?=[\s/>])[^<>]*+(?<=/)>
    # Invisible content is removed as a whole; its end tag remains and is dropped as unmatched.
    | <(?P<unread>script|style|svg|math|template|iframe|noembed|noframes|xmp|object)(?=[\s/>])
      .*?(?=</(?P=unread)|\Z)
    # These contain text only, no tags.
    | <(?P<plain>title|textarea)(?P<plain_attributes>(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+)(?:>|\Z)
      (?P<inside>.*?)(?=</(?P=plain)|\Z)
    | </(?P<end>[a-z][^\s/>]*+)[^>]*+(?:>|\Z)
    | <(?P<start>[a-z][^\s/>]*+)(?P<attributes>(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+)(?:>|\Z)
    | <[!?/][^>]*+(?:>|\Z)
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'=<>`]++)))?+""")

#: Attributes that the reader needs.
_NEEDED = words(
    "action alt aria-label checked content disabled enctype for form formaction formmethod hidden href "
    "http-equiv id label method multiple name novalidate onchange open placeholder readonly required "
    "selected style title type value"
)
_OPTIONS = words("optgroup option")
_VOID = words("area base br col embed hr img input link meta param source track wbr")
#: Tags that the parser opens again where they are not closed. They change no text: a `span` does as well.
_FORMATTING = words("b big code em font i nobr s small strike strong tt u")
_FORMATTING_START = re.compile(r"<(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)[\s/>]", re.IGNORECASE)
#: Opening tag -> tags that it closes if they are innermost.
_CLOSES = {
    "a": words("a"),
    "dd": words("dd dt p"),
    "dt": words("dd dt p"),
    "li": words("li p"),
    "optgroup": words("option optgroup"),
    "option": words("option"),
    "p": words("p"),
    "tbody": words("tbody thead tfoot tr td th p"),
    "td": words("td th p"),
    "th": words("td th p"),
    "tr": words("tr td th p"),
}
#: Maximum levels that an end tag may close.
_MAX_UNWIND = 12


def sanitize_html(html: str) -> str:
    """Returns equivalent HTML that parses in linear time. Returns HTML that parses fast unchanged."""
    tags = html.count("<")
    is_short = len(html) <= _FEW_CHARS and tags <= _FEW_TAGS
    if is_short and tags * len(_FORMATTING_START.findall(html)) <= _FEW_NODES:
        return html
    return _Writer().write(html)


class _Writer:
    """Rewrites tags so that the parser's stack of open elements matches the one kept here."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._open: list[str] = []
        self._links = 0
        self._options = 0

    def write(self, html: str) -> str:
        position = 0
        for count, token in enumerate(_TOKEN.finditer(html)):
            self._out.append(html[position : token.start()].replace("<", "&lt;"))
            position = token.end()
            if count >= _MAX_TAGS:
                position = len(html)
                break
            if name := token["start"]:
                self._start(name.lower(), token["attributes"])
            elif name := token["end"]:
                self._end(name.lower())
            elif name := token["plain"]:
                inside = token["inside"].replace("<", "&lt;")
                self._out.append(f"<{name}{_attributes(token['plain_attributes'])}>{inside}</{name}>")
        self._out.append(html[position:].replace("<", "&lt;"))
        self._close(len(self._open))
        return "".join(self._out)

    def _start(self, name: str, attributes: str) -> None:
        name = "span" if name in _FORMATTING else name
        while self._open and self._open[-1] in _CLOSES.get(name, ()):
            self._close(1)
        if name in _VOID:
            self._out.append(f"<{name}{_attributes(attributes)}>")
            return
        if name == "select":
            self._options = 0
        elif name in _OPTIONS:
            self._options += 1
            if self._options > _MAX_OPTIONS:
                return
        if len(self._open) >= _MAX_DEPTH or (name == "a" and self._links >= _MAX_NESTED_LINKS):
            self._out.append(" ")
            return
        self._links += name == "a"
        self._open.append(name)
        self._out.append(f"<{name}{_attributes(attributes)}>")

    def _end(self, name: str) -> None:
        name = "span" if name in _FORMATTING else name
        for depth, found in enumerate(reversed(self._open[-_MAX_UNWIND:])):
            if found == name:
                self._close(depth + 1)
                return
        if name in ("p", "br"):
            self._out.append("<br>")

    def _close(self, count: int) -> None:
        for _ in range(count):
            name = self._open.pop()
            self._links -= name == "a"
            self._out.append(f"</{name}>")


def _attributes(written: str) -> str:
    if not written or written.isspace():
        return ""
    kept: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(written):
        key = name.lower()
        if key in _NEEDED and key not in kept:
            kept[key] = double or single or bare
    # Character references stay unchanged: the parser decodes them.
    return "".join(' {}="{}"'.format(key, value.replace('"', "&quot;")) for key, value in kept.items())
