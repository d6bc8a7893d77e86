"""The command line: the third door to the service. It says what a tool says, through `api.client`."""

from api.cli.commands import app as app
