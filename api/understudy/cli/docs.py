"""The command that shows the documentation."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.console import CommandContext
from understudy.cli.render import empty_table, plain, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from understudy.envelopes.docs import Doc

#: Fences of our own: what colours HTTP would mark every letter of a request without a version as wrong.
_UNCOLOURED = re.compile(r"^```(?:http|mcp|output)\b.*$", re.MULTILINE)
_BETWEEN_PAGES = re.compile(r"\[([^][\n]+)\]\([^)\n]+\.md\)")
#: Lines longer than this are hard to read, however wide the terminal is.
_MAX_WIDTH = 110


def docs(
    session: CommandContext,
    slug: Annotated[
        str | None,
        typer.Argument(metavar="PAGE", help="Like concepts/overview; without it: all pages there are."),
    ] = None,
) -> None:
    """Read the documentation: what things are, how to go about them, every detail.

    The pages are those of the installed version; with --server, those of that server. On a terminal a
    page is laid out for reading; into a file or a pipe goes its Markdown.
    """
    # Here and not above: other commands must not pay for it.
    from understudy import documentation  # noqa: PLC0415

    if slug is None:
        pages = session.client.docs_list() if session.names_server else documentation.list_docs()
        table = empty_table("page", "what it tells", apart=1)
        for entry in pages.items:
            table.add_row(plain(entry.slug, "bold"), plain(entry.summary))
        session.show_data(
            pages.model_dump(mode="json"), table, plain("Read one: understudy docs PAGE", "dim")
        )
        return
    doc = session.client.docs_get(slug) if session.names_server else documentation.get_doc(slug)
    view = _render_doc(session, doc) if session.out.is_terminal else _source(doc)
    session.show_data(doc.model_dump(mode="json"), view)


def _render_doc(session: CommandContext, doc: "Doc") -> "RenderableType":
    # Here and not above: it takes a while to load, and only this needs it.
    from rich.constrain import Constrain  # noqa: PLC0415
    from rich.markdown import Markdown  # noqa: PLC0415

    # The terminal's own colours, whatever they are.
    page = Markdown(_terminal_markdown(doc.content), code_theme="ansi_dark", inline_code_theme="ansi_dark")
    return Constrain(page, min(session.out.width, _MAX_WIDTH))


def _terminal_markdown(content: str) -> str:
    """A page's Markdown for a terminal."""
    # Links between pages are relative, and lead nowhere from here: the slug in their text is what counts.
    return _UNCOLOURED.sub("```text", _BETWEEN_PAGES.sub(r"\1", printable(content)))


def _source(doc: "Doc") -> "RenderableType":
    from rich.text import Text  # noqa: PLC0415

    return Text(printable(doc.content).rstrip("\n"))
