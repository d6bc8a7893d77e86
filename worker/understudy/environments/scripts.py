"""Scripts: whether a page shows its content only where scripts run."""

import re

from selectolax.lexbor import LexborHTMLParser

from understudy.environments.page import Page

#: A page with more text than this says something without scripts.
_NOTE_CHARS = 400
_LOADING = re.compile(
    r"(loading|please wait|one moment|lädt|wird geladen|chargement|cargando)[\w\s.…!]{0,20}", re.IGNORECASE
)
_REQUEST = re.compile(
    r"(enabl|need|requir|activ|aktivier|turn(ed)? on)\w*.{0,60}java ?script"
    r"|java ?script.{0,60}(enabl|requir|need|must|disabled|activ|aktivier|turned off)",
    re.IGNORECASE | re.DOTALL,
)


def needs_scripts(tree: LexborHTMLParser, page: Page) -> bool:
    """Returns whether the page has scripts, nothing to act on, and no text but a request for JavaScript."""
    if any(control.number for control in page.controls) or len(page.text) > _NOTE_CHARS:
        return False
    if tree.css_first("script") is None:
        return False
    return not page.text or bool(_LOADING.fullmatch(page.text) or _REQUEST.search(page.text))
