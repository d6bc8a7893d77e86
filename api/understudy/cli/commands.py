"""The commands of `understudy` that call a server. Source: contract sections 7 (exit codes) and 8."""

from importlib.metadata import version
from typing import Annotated

import typer

from understudy.cli.asks import ask
from understudy.cli.completion import completion
from understudy.cli.console import server_command
from understudy.cli.deletions import delete
from understudy.cli.docs import docs
from understudy.cli.groups import Commands
from understudy.cli.lists import add_iteration, list_
from understudy.cli.mcp import mcp
from understudy.cli.objects import get
from understudy.cli.operation_options import with_options
from understudy.cli.pauses import pause, resume
from understudy.cli.people import app as people
from understudy.cli.simulations import cancel, extend, run, wait
from understudy.cli.terminal import write_line
from understudy.cli.tickets import ticket
from understudy.cli.watch import watch
from understudy.cli.webhooks import app as webhooks

_PANEL = "Simulations"

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        write_line(f"understudy {version('understudy')}")
        raise typer.Exit


@app.callback()
def understudy(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit.", metavar=""
        ),
    ] = False,
) -> None:
    """Run simulations: simulated people use your website, chatbot or texts.

    [bold]understudy up[/bold] starts all components on this machine. Then, in another terminal:

    \b
      understudy run --url http://127.0.0.1:9000 --task "Buy a lamp" --watch
      understudy ask --question "Which?" --variant "This" --variant "That" --wait
      understudy get s-b2c          show the results of a study
      understudy get t-1f3          show the journey of a participant
      understudy cancel t-1f3       cancel a participant immediately
      understudy extend t-1f3 --instruction "Switch to German."

    Ids are the aliases that commands print (s- study, i- iteration,
    a- ask, t- participant, tp- person) or UUIDs. With [bold]--json[/bold] a command prints
    the API response and nothing else.

    Exit codes: 0 success, 1 rejected or failed, 2 invalid request, 3 no valid
    token, 4 not found, 5 unavailable or timeout, 130 Ctrl-C.
    """


_COMMANDS = (
    with_options(run, ("study_run", "study_add_iteration"), without={"sample", "iteration_id"}),
    with_options(ask, ("ask_run", "ask_round"), without={"sample"}),
    watch,
    wait,
    get,
    cancel,
    pause,
    resume,
    delete,
    with_options(extend, ("simulation_extend",), without={"participant_id"}),
)
for command in _COMMANDS:
    app.command(command.__name__, rich_help_panel=_PANEL)(server_command(command))
app.command("list", rich_help_panel=_PANEL)(server_command(list_))
iterations = typer.Typer(cls=Commands, no_args_is_help=True, help="Add iterations to studies.")
iterations.command("add")(server_command(with_options(add_iteration, ("study_add_iteration",), without={"study_id"})))


@iterations.callback()
def iteration() -> None:
    """Add iterations to studies."""


app.add_typer(iterations, name="iteration", rich_help_panel=_PANEL)
app.add_typer(people, name="people", rich_help_panel=_PANEL)
app.add_typer(webhooks, name="webhook", rich_help_panel=_PANEL)
app.command("ticket", rich_help_panel=_PANEL)(server_command(ticket))
app.command("docs", rich_help_panel=_PANEL)(server_command(docs))
app.command("mcp", rich_help_panel=_PANEL)(server_command(mcp))
app.command("completion", rich_help_panel="This machine")(completion)
