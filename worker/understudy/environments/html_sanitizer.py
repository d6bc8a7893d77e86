"""Markup: make HTML safe for the parser.

The parser's time and memory grow with the square of the depth, of a tag's attributes and of unclosed
formatting: 500 kB of `<div>` take it a minute, 32 KiB of `<p><font a=1>` take 700 MB. HTML that is long or has
much formatting is therefore rewritten first, in one linear pass: every tag closed, every attribute quoted, the
depth limited, formatting renamed to `span`. The time of the parser then grows with the length only.
"""

import re
from typing import NamedTuple

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
    | <(?P<unread>script|style|svg|math|template|iframe|noembed|noframes|xmp)(?=[\s/>])
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
    "accept-charset action alt aria-label aria-labelledby charset checked class cols content dir dirname disabled "
    "enctype for form formaction formenctype formmethod formnovalidate hidden href http-equiv id label max maxlength "
    "method min minlength multiple name novalidate onchange open pattern placeholder readonly required role selected "
    "size step style tabindex title type value"
)
#: Attributes that mark a form by its number, and a control by the number of its form.
FORM = "understudy-form"
OWNER = "understudy-owner"
_FORM = re.compile(r"<form[\s/>]", re.IGNORECASE)
_CONTROLS = words("button fieldset input object output select textarea")
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


class Markup(NamedTuple):
    """HTML that parses fast. Each form has its number, and each control the number of its form."""

    html: str
    #: Numbers of the forms of which a control was left out.
    cut_forms: frozenset[int] = frozenset()
    #: Something was left out.
    cut: bool = False


def sanitize_html(html: str, *, ends_early: bool = False) -> Markup:
    """Returns equivalent HTML that parses in linear time; HTML that parses fast is only marked.

    `ends_early`: the end of the page is missing, so that the form that is open there is cut.
    """
    tags = html.count("<")
    is_short = len(html) <= _FEW_CHARS and tags <= _FEW_TAGS
    if is_short and tags * len(_FORMATTING_START.findall(html)) <= _FEW_NODES:
        return _mark(html, ends_early) if _FORM.search(html) else Markup(html, cut=ends_early)
    return _Writer().write(html, ends_early=ends_early)


class FormPointer:
    """The form that the parser gives to the next control, as the HTML standard keeps it."""

    def __init__(self) -> None:
        self._forms = 0
        self._open: int | None = None
        self._templates = 0

    @property
    def form(self) -> int | None:
        """Number of the open form."""
        return None if self._templates else self._open

    def start(self, name: str) -> str:
        """Follows a start tag. Returns the attribute that marks a form or control."""
        if name == "template":
            self._templates += 1
        if name in _CONTROLS:
            return f' {OWNER}="{"" if self.form is None else self.form}"'
        if name != "form" or self._templates or self._open is not None:
            return ""
        self._open = self._forms
        self._forms += 1
        return f' {FORM}="{self._open}"'

    def end(self, name: str) -> None:
        """Follows an end tag."""
        if name == "template":
            self._templates = max(self._templates - 1, 0)
        elif name == "form" and not self._templates:
            self._open = None


def _mark(html: str, ends_early: bool) -> Markup:
    pointer = FormPointer()
    out: list[str] = []
    position = 0
    for token in _TOKEN.finditer(html):
        if (name := token["end"]) is not None:
            pointer.end(name.lower())
        elif (name := token["start"] or token["plain"]) and (mark := pointer.start(name.lower())):
            after = token.start() + 1 + len(name)
            out += (html[position:after], mark)
            position = after
    out.append(html[position:])
    open_form = frozenset((pointer.form,)) if ends_early and pointer.form is not None else frozenset()
    return Markup("".join(out), open_form, ends_early)


class _Writer:
    """Rewrites tags so that the parser's stack of open elements matches the one kept here."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._open: list[str] = []
        self._links = 0
        self._options = 0
        self._pointer = FormPointer()
        self._cut_forms: set[int] = set()
        self._cut = False

    def write(self, html: str, *, ends_early: bool) -> Markup:
        position = 0
        for count, token in enumerate(_TOKEN.finditer(html)):
            if count >= _MAX_TAGS:
                self._leave_out(token)
                continue
            self._out.append(html[position : token.start()].replace("<", "&lt;"))
            position = token.end()
            if name := token["start"]:
                self._start(name.lower(), token["attributes"])
            elif name := token["end"]:
                self._end(name.lower())
            elif name := token["plain"]:
                inside = token["inside"].replace("<", "&lt;")
                mark = self._pointer.start(name.lower())
                self._out.append(f"<{name}{mark}{_attributes(token['plain_attributes'])}>{inside}</{name}>")
        if self._cut or ends_early:
            self._note_cut()
        if not self._cut:
            self._out.append(html[position:].replace("<", "&lt;"))
        self._close(len(self._open))
        return Markup("".join(self._out), frozenset(self._cut_forms), self._cut or ends_early)

    def _leave_out(self, token: re.Match[str]) -> None:
        """Notes which form loses a control beyond the limit of tags."""
        self._cut = True
        if token["end"]:
            self._pointer.end(token["end"].lower())
        elif (name := token["start"] or token["plain"]) and self._pointer.start(name.lower()):
            self._note_cut()

    def _note_cut(self) -> None:
        if self._pointer.form is not None:
            self._cut_forms.add(self._pointer.form)

    def _start(self, name: str, attributes: str) -> None:
        name = "span" if name in _FORMATTING else name
        mark = self._pointer.start(name)
        if name == "form":
            # Not on the stack: its end tag closes nothing else, and the parser knows that.
            self._out.append(f"<form{mark}{_attributes(attributes)}>" if mark else " ")
            return
        while self._open and self._open[-1] in _CLOSES.get(name, ()):
            self._close(1)
        if name in _VOID:
            self._out.append(f"<{name}{mark}{_attributes(attributes)}>")
            return
        if name == "select":
            self._options = 0
        elif name in _OPTIONS:
            self._options += 1
            if self._options > _MAX_OPTIONS:
                self._note_cut()
                return
        if len(self._open) >= _MAX_DEPTH or (name == "a" and self._links >= _MAX_NESTED_LINKS):
            if name in _CONTROLS:
                self._note_cut()
            self._out.append(" ")
            return
        self._links += name == "a"
        self._open.append(name)
        self._out.append(f"<{name}{mark}{_attributes(attributes)}>")

    def _end(self, name: str) -> None:
        name = "span" if name in _FORMATTING else name
        self._pointer.end(name)
        if name == "form":
            self._out.append("</form>")
            return
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
