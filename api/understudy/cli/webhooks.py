"""The commands for webhooks: `webhook …`."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from understudy.cli.console import CommandContext, server_command
from understudy.cli.groups import Commands
from understudy.cli.options import Cursor, IdempotencyKey, Limit
from understudy.cli.render import empty_table, key_value_table, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table
    from rich.text import Text

    from understudy.envelopes.webhooks import Webhook as WebhookEnvelope
    from understudy.envelopes.webhooks import WebhookCreated, WebhookDelivery

app = typer.Typer(cls=Commands, no_args_is_help=True)

Status = Literal["pending", "delivered", "dead"]
Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Webhook: alias (wh-…) or UUID.")]


@app.callback()
def webhook() -> None:
    """Create, show, replay and delete webhooks: receivers of your workspace's events."""


@app.command("create")
@server_command
def create(
    session: CommandContext,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the receiver.")],
    *,
    event: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE",
            help="Type of event to receive: participant.completed, participant.failed, participant.cancelled, "
            "run.finished. Repeat it for several. Default: all.",
        ),
    ] = None,
    key: IdempotencyKey = None,
) -> None:
    """Create a webhook and print its secret, once."""
    _show_secret(session, session.client.webhook_create(url, events=event or None, idempotency_key=key))  # type: ignore[arg-type]


@app.command("list")
@server_command
def list_webhooks(session: CommandContext, *, limit: Limit = None, cursor: Cursor = None) -> None:
    """List the webhooks of the workspace."""
    page = session.client.webhook_list(limit=limit, cursor=cursor)
    if not page.items:
        session.show(plain("No webhooks yet. Create one with `understudy webhook create URL`.", "dim"))
        return
    command = "webhook list" if limit is None else f"webhook list --limit {limit}"
    session.show(_webhooks_table(page.items), *session.next_page_hint(page.next_cursor, command))


@app.command("delete")
@server_command
def delete(session: CommandContext, webhook_id: Webhook) -> None:
    """Delete a webhook with its log of deliveries."""
    gone = session.client.webhook_delete(webhook_id)
    session.show(plain(f"{gone.alias} deleted"))


@app.command("rotate")
@server_command
def rotate(session: CommandContext, webhook_id: Webhook) -> None:
    """Replace the secret of a webhook and print the new one, once.

    For 24 hours, deliveries carry the signatures of both secrets.
    """
    _show_secret(session, session.client.webhook_rotate(webhook_id))


@app.command("replay")
@server_command
def replay(
    session: CommandContext,
    webhook_id: Webhook,
    *,
    delivery: Annotated[
        str | None, typer.Option(metavar="ID", help="One delivery, by its id in the log.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="All events since a time such as 2026-12-01T09:00:00Z.", show_default=False),
    ] = None,
    status: Annotated[
        Status | None,
        typer.Option(metavar="STATUS", help="With --since: only pending, delivered or dead ones.", show_default=False),
    ] = None,
) -> None:
    """Send deliveries again: one, or all since a time."""
    done = session.client.webhook_replay(webhook_id, delivery_id=delivery, since=since, status=status)
    session.show(plain(f"{done.replayed_count} deliveries are due again"))


@app.command("deliveries")
@server_command
def list_deliveries(
    session: CommandContext,
    webhook_id: Webhook,
    *,
    status: Annotated[
        Status | None,
        typer.Option(metavar="STATUS", help="Only pending, delivered or dead ones.", show_default=False),
    ] = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> None:
    """Show the log of a webhook's deliveries."""
    page = session.client.webhook_deliveries(webhook_id, status=status, limit=limit, cursor=cursor)
    if not page.items:
        session.show(plain("No deliveries.", "dim"))
        return
    options = [f"--status {status}"] if status else []
    options += [] if limit is None else [f"--limit {limit}"]
    command = " ".join(["webhook deliveries", webhook_id, *options])
    lines = [line for one in page.items for line in _delivery_lines(one)]
    session.show(*lines, *session.next_page_hint(page.next_cursor, command))


def _show_secret(session: CommandContext, created: "WebhookCreated") -> None:
    values = key_value_table(
        webhook=created.alias, url=created.url, events=", ".join(created.events), secret=created.secret or ""
    )
    session.show(values, plain("Store the secret now: it is not shown again.", "dim"))


def _webhooks_table(webhooks: "list[WebhookEnvelope]") -> "Table":
    table = empty_table("webhook", "url", "events", "pending")
    for one in webhooks:
        table.add_row(plain(one.alias, "bold"), plain(one.url), plain(", ".join(one.events)), plain(one.pending_count))
    return table


def _delivery_lines(one: "WebhookDelivery") -> "Iterator[Text]":
    """Yields a delivery on lines of their own: its id fills half of a narrow terminal."""
    attempts = "1 attempt" if one.attempts == 1 else f"{one.attempts} attempts"
    yield plain(f"{one.occurred_at:%Y-%m-%d %H:%M:%S}Z  {one.type}  {one.status}, {attempts}", "bold")
    source = f"participant {one.participant_id}" if one.participant_id else f"dispatch {one.dispatch_id}"
    yield plain(f"  delivery {one.id}")
    yield plain(f"  {source}")
    if one.error is not None:
        yield plain(f"  {one.error}", "red")
