"""The command line: the operations of the MCP tools, called with the Python client."""

from understudy.cli.commands import app as app
