"""Reader: converts the HTML of a site to the Page that a person sees."""

from typing import Any

from selectolax.lexbor import LexborHTMLParser

from understudy.domain.simulation import Json
from understudy.environments.document_reader import DocumentReader
from understudy.environments.encoding import decode
from understudy.environments.html_sanitizer import sanitize_html
from understudy.environments.page import Page, clean, with_text
from understudy.environments.page_source import PageSource
from understudy.environments.xhtml import xml_as_html


def answer(question: Any, body: bytes) -> Json:
    """Reads a page in a child process; see `page_lanes`."""
    return {**(page := read_page(PageSource(**question), body)).as_json, "refresh": page.refresh}


def read_page(source: PageSource, body: bytes) -> Page:
    """Returns the page of a body."""
    text, charset = decode(body, source.parameters, is_html=source.is_html)
    if not source.is_html:
        return read_text(text, cut=source.cut)
    text = xml_as_html(text) if source.is_xml else text
    return read_html(text, source.url, with_places=source.with_places, charset=charset, cut=source.cut)


def read_text(text: str, *, cut: bool = False) -> Page:
    """Returns the page of a plain text."""
    return with_text(Page(cut=cut), clean(" ".join(text.split())))


def read_html(html: str, url: str, *, with_places: bool = False, charset: str = "utf-8", cut: bool = False) -> Page:
    """Returns the page of the HTML at `url`; invalid parts are left out. `cut`: its end is missing."""
    markup = sanitize_html(clean(html), ends_early=cut)
    reader = DocumentReader(LexborHTMLParser(markup.html), url, charset, markup)
    try:
        return reader.page(with_places=with_places)
    finally:
        # Without this, the tree would stay in memory until the garbage collector finds the reader.
        vars(reader).clear()
