"""XHTML: rewrite what the parser of HTML reads differently, such as tags that close themselves."""

import re
from html import escape

from understudy.environments.page import words

_VOID = words("area base br col embed hr img input link meta param source track wbr")
_TOKEN = re.compile(
    r"""<!--.*?--> | <!\[CDATA\[(?P<text>.*?)\]\]>
    | <(?P<name>[A-Za-z][\w:.-]*+)(?P<attributes>(?:[^<>"']++|"[^"]*+"|'[^']*+')*+)>""",
    re.DOTALL | re.VERBOSE,
)


def xml_as_html(text: str) -> str:
    """Returns HTML of the same content: `<script src="x"/>` becomes `<script src="x"></script>`."""
    return _TOKEN.sub(_rewritten, text)


def _rewritten(token: re.Match[str]) -> str:
    if token["text"] is not None:
        return escape(token["text"])
    name, attributes = token["name"], token["attributes"]
    if name is None or not attributes.rstrip().endswith("/") or name.lower() in _VOID:
        return token[0]
    return f"<{name}{attributes.rstrip()[:-1]}></{name}>"
