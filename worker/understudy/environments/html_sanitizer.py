"""Markup: make HTML safe for the parser.

The parser's time and memory grow with the square of the depth, of a tag's attributes and of unclosed
formatting. 500 kB of `<div>` take it a minute, 32 KiB of `<p><font a=1>` take 700 MB, and every participant
of the process waits. Long HTML is therefore rewritten first, in one linear pass: every tag closed, every
attribute quoted, the depth limited.
"""

import re

from understudy.environments.page import words

#: A page within these limits parses fast, whatever it contains.
_SMALL_TAGS = 1_000
_SMALL_CHARS = 32_768

_MAX_TAGS = 40_000
_MAX_DEPTH = 200
_MAX_FORMATTING = 24

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
_VOID = words("area base br col embed hr img input link meta param source track wbr")
_FORMATTING = words("a b big code em font i nobr s small strike strong tt u")
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


def is_small(html: str) -> bool:
    """Returns whether `html` parses fast, whatever it contains."""
    return len(html) <= _SMALL_CHARS and html.count("<") <= _SMALL_TAGS


def sanitize_html(html: str) -> str:
    """Returns equivalent HTML that parses in linear time. A small page is returned unchanged."""
    return html if is_small(html) else _Writer().write(html)


class _Writer:
    """Rewrites tags so that the parser's stack of open elements matches the one kept here."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._open: list[str] = []
        self._formatting = 0

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
        while self._open and self._open[-1] in _CLOSES.get(name, ()):
            self._close(1)
        if name in _VOID:
            self._out.append(f"<{name}{_attributes(attributes)}>")
            return
        formatting = name in _FORMATTING
        if len(self._open) >= _MAX_DEPTH or (formatting and self._formatting >= _MAX_FORMATTING):
            self._out.append(" ")
            return
        self._formatting += formatting
        self._open.append(name)
        self._out.append(f"<{name}{_attributes(attributes)}>")

    def _end(self, name: str) -> None:
        for depth, found in enumerate(reversed(self._open[-_MAX_UNWIND:])):
            if found == name:
                self._close(depth + 1)
                return
        if name in ("p", "br"):
            self._out.append("<br>")

    def _close(self, count: int) -> None:
        for _ in range(count):
            name = self._open.pop()
            self._formatting -= name in _FORMATTING
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
