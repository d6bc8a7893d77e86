"""The commands `list` and `iteration add`."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from understudy.cli.chats import ChatModel, ChatReply, ChatRequest, ChatSecret, ChatUrl, parse_target
from understudy.cli.console import CommandContext
from understudy.cli.operation_options import fields_of
from understudy.cli.options import Cursor, Limit
from understudy.cli.render import STATUS_STYLES, counts_text, empty_table, plain
from understudy.cli.studies import summary_counts
from understudy.domain.lifecycle import ACTIVE

if TYPE_CHECKING:
    from understudy.client import Understudy
    from understudy.envelopes.base import Page

#: Objects of a page; each needs a request for its counts.
_PAGE = 20


def list_(
    session: CommandContext,
    kind: Annotated[
        Literal["studies", "asks"], typer.Argument(metavar="KIND", help="studies or asks.", show_default="studies")
    ] = "studies",
    limit: Limit = None,
    cursor: Cursor = None,
) -> None:
    """List studies or asks with date, state and numbers of participants, newest first."""
    client = session.client
    page: Page[Any]
    read = client.study_list if kind == "studies" else client.ask_list
    page = read(limit=limit if session.as_json else limit or _PAGE, cursor=cursor, newest_first=True)
    if session.as_json:
        session.show()
        return
    if not page.items:
        session.show(plain(f"No {kind} yet. Create one with `understudy {_CREATE[kind]}`.", "dim"))
        return
    table = empty_table("study" if kind == "studies" else "ask", "created", "state", "participants", "about")
    for item in page.items:
        counts = _study_counts(client, item.alias) if kind == "studies" else _ask_counts(client, item.alias)
        about = getattr(item, "name", "") or getattr(item, "question", "")
        table.add_row(
            plain(item.alias), plain(local_time(item.created_at)), _state(counts), counts_text(counts), plain(about)
        )
    command = f"list {kind}" + ("" if limit is None else f" --limit {limit}")
    session.show(table, *session.next_page_hint(page.next_cursor, command))


def add_iteration(
    session: CommandContext,
    study: Annotated[str, typer.Argument(metavar="S", help="Study: alias (s-b2c) or UUID.")],
    *,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Start page. Give either --url or --chat.", show_default=False)
    ] = None,
    chat: ChatUrl = None,
    chat_model: ChatModel = None,
    chat_request: ChatRequest = None,
    chat_reply: ChatReply = None,
    chat_secret: ChatSecret = None,
    options: dict[str, Any],
) -> None:
    """Add an iteration to a study: another website or chatbot to compare with.

    `understudy run --study` then runs this iteration.
    """
    target = parse_target(url, chat, chat_model, chat_request, chat_reply, chat_secret)
    added = session.client.study_add_iteration(
        study,
        content=target.content,
        **fields_of("study_add_iteration", options),
        idempotency_key=options["idempotency_key"],
    )
    session.show(
        plain(f"Iteration {added.label} ({added.alias}) of study {study}.", "bold"),
        plain(f"Run it: understudy run --study {study}", "dim"),
    )


def local_time(moment: datetime) -> str:
    """Returns `2026-03-01 14:05` in the time zone of this machine."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


_CREATE = {"studies": "run", "asks": "ask --question … --variant …"}


def _study_counts(client: "Understudy", study: str) -> dict[str, int]:
    return summary_counts(client.study_get(study, "summary"))


def _ask_counts(client: "Understudy", ask: str) -> dict[str, int]:
    rounds = client.ask_get(ask).rounds
    return {status: sum(getattr(one, f"{status}_count") for one in rounds) for status in STATUS_STYLES}


def _state(counts: Mapping[str, int]) -> Text:
    if any(counts.get(status) for status in ACTIVE):
        return plain("running", "cyan")
    if not any(counts.values()):
        return plain("not run", "dim")
    return plain("failed", "red") if counts.get("failed") else plain("finished", "green")
