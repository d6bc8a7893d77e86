"""The command `docs`: shows the documentation."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.console import CommandContext
from understudy.cli.render import empty_table, plain, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from understudy.envelopes.docs import Doc

#: Our own fences: the HTTP highlighter marks every letter of a request without a version as an error.
_UNCOLOURED = re.compile(r"^```(?:http|mcp|output)\b.*$", re.MULTILINE)
_BETWEEN_PAGES = re.compile(r"\[([^][\n]+)\]\([^)\n]+\.md\)")
#: Maximum line width in columns: longer lines are hard to read, even on a wide terminal.
_MAX_WIDTH = 110


def docs(
    session: CommandContext,
    slug: Annotated[
        str | None, typer.Argument(metavar="PAGE", help="Page such as concepts/overview. Without it: list all pages.")
    ] = None,
) -> None:
    """Read the documentation: concepts, guides and reference.

    Shows the pages of the installed version; with --server, of that server.
    A terminal gets a formatted page; a file or a pipe gets Markdown.
    """
    # Imported here to keep other commands fast.
    from understudy import documentation  # noqa: PLC0415

    if slug is None:
        pages = session.client.docs_list() if session.names_server else documentation.list_docs()
        table = empty_table("page", "content", apart=1)
        for entry in pages.items:
            table.add_row(plain(entry.slug, "bold"), plain(entry.summary))
        session.show_data(pages.model_dump(mode="json"), table, plain("Read a page: understudy docs PAGE", "dim"))
        return
    doc = session.client.docs_get(slug) if session.names_server else documentation.get_doc(slug)
    view = _render_doc(session, doc) if session.out.is_terminal else _source(doc)
    session.show_data(doc.model_dump(mode="json"), view)


def _render_doc(session: CommandContext, doc: "Doc") -> "RenderableType":
    # Imported here: it loads slowly, and only this function needs it.
    from rich.constrain import Constrain  # noqa: PLC0415
    from rich.markdown import Markdown  # noqa: PLC0415

    # These themes use the colours of the terminal.
    page = Markdown(_terminal_markdown(doc.content), code_theme="ansi_dark", inline_code_theme="ansi_dark")
    return Constrain(page, min(session.out.width, _MAX_WIDTH))


def _terminal_markdown(content: str) -> str:
    """Returns a page's Markdown for a terminal."""
    # Relative links between pages do not work on a terminal: keep only the slug in their text.
    return _UNCOLOURED.sub("```text", _BETWEEN_PAGES.sub(r"\1", printable(content)))


def _source(doc: "Doc") -> "RenderableType":
    from rich.text import Text  # noqa: PLC0415

    return Text(printable(doc.content).rstrip("\n"))
