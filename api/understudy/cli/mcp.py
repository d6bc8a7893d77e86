"""The command that offers the MCP tools of a server to a desktop host."""

from understudy.cli.console import CommandContext


def mcp(session: CommandContext) -> None:
    """Serve the MCP tools over standard input and output, for a desktop host.

    The host starts this command; calls go to the server and the token that all
    commands use. It needs the extra: pip install 'understudy[mcp]'.
    """
    from understudy.stdio.proxy import serve  # noqa: PLC0415 - only this command needs the extra

    # Fails with the errors of all commands before the host sends anything.
    session.client.docs_list(limit=1)
    serve(session.address)
