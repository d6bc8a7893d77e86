"""The command line. It offers what the MCP tools offer, through the Python client."""

from understudy.cli.commands import app as app
