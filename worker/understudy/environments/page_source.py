"""Page source: how the body of a page is to be read."""

from typing import NamedTuple


class PageSource(NamedTuple):
    """How the body of a page is to be read."""

    url: str
    #: Parameters of its Content-Type.
    parameters: str
    is_html: bool = True
    with_places: bool = False
    #: The body is XHTML.
    is_xml: bool = False
    #: The end of the body is missing.
    cut: bool = False
