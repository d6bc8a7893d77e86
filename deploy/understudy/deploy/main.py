"""The command `understudy`: commands that call an API, and commands that run on this machine.

Each command imports its dependencies when it runs. This keeps the store, Celery and the web framework out of
`--help` and out of commands that only call a server.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from understudy import gc_tuning
from understudy.cli import app
from understudy.cli.terminal import report_crashes
from understudy.deploy.command_settings import read_settings
from understudy.deploy.open_files import raise_open_file_limit
from understudy.deploy.tokens import app as tokens
from understudy.deploy.workspaces import app as workspaces

if TYPE_CHECKING:
    from understudy.settings import Settings

_LOCAL_PANEL = "This machine"
_COMPONENTS_PANEL = "Components"

DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of store, broker, tokens, logs. Without it: $UNDERSTUDY_DATA_DIR, then ./.understudy.",
        show_default=False,
    ),
]
Host = Annotated[str, typer.Option(help="Address on which the API listens.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 selects a free port.")]
Concurrency = Annotated[
    int, typer.Option(min=1, max=1000, help="Maximum concurrent simulations in one worker process.")
]
Workers = Annotated[int, typer.Option(min=0, max=64, help="Number of worker processes; 0 runs no simulations here.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Port of /metrics; 0 selects a free port. Without it: $UNDERSTUDY_METRICS_PORT, then no port.",
        show_default=False,
    ),
]
ReadyFile = Annotated[Path | None, typer.Option(help="Create this file when the process is ready.")]


@app.command("up", rich_help_panel=_LOCAL_PANEL)
def up_command(
    *,
    data_dir: DataDir = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    concurrency: Concurrency = 100,
    flower_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Flower; 0 selects the last one, or a free one.")
    ] = 0,
    flower: Annotated[bool, typer.Option("--flower/--no-flower", help="Start Flower.")] = True,
    broker_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the broker; 0 selects a free port.")] = 0,
) -> None:
    """Run everything on this machine: broker, API, workers, sweeper, Flower. Ctrl-C stops it.

    Prints `ready http://HOST:PORT` once all components work. The next `up` on
    the same folder continues unfinished runs. Exit code 1 if it cannot run,
    for example because it already runs on this folder.
    """
    from understudy.deploy.stack import StackPlan  # noqa: PLC0415
    from understudy.deploy.up import up  # noqa: PLC0415

    if workers:
        raise_open_file_limit(concurrency)
    plan = StackPlan(
        host=host,
        port=port,
        workers=workers,
        concurrency=concurrency,
        flower=flower,
        flower_port=flower_port,
        broker_port=broker_port,
    )
    raise typer.Exit(up(_load_settings(data_dir), plan))


@app.command("demo", rich_help_panel=_LOCAL_PANEL)
def demo_command() -> None:
    """Run the main job on a demo shop: run, cancel, extend, wait.

    Takes less than a minute. Stops all processes and deletes all files at the end.
    """
    from understudy.deploy.demo import demo  # noqa: PLC0415

    raise typer.Exit(demo())


@app.command("api", rich_help_panel=_COMPONENTS_PANEL)
def api_command(data_dir: DataDir = None, host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve the API (docs at /docs)."""
    from understudy.api.app import serve  # noqa: PLC0415

    serve(_load_settings(data_dir), host, port)


@app.command("worker", rich_help_panel=_COMPONENTS_PANEL)
def worker_command(
    *,
    data_dir: DataDir = None,
    name: Annotated[
        str | None, typer.Option(help="Worker name in logs and Flower.", show_default="the worker kind")
    ] = None,
    concurrency: Concurrency = 100,
    control: Annotated[bool, typer.Option("--control", help="Process stop tasks instead of simulations.")] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", "--alone", help="Run quarantined participants, one at a time.")
    ] = False,
    metrics_port: MetricsPort = None,
    ready_file: ReadyFile = None,
) -> None:
    """Run simulations. A complete fleet also has one worker with --control and one with --quarantine."""
    if control and quarantine:
        raise typer.BadParameter("--control and --quarantine exclude each other: pass one of them")
    from understudy.worker.process import effective_concurrency, run_worker  # noqa: PLC0415

    kind: Literal["run", "control", "alone"] = "control" if control else "alone" if quarantine else "run"
    concurrency = effective_concurrency(kind, concurrency)
    raise_open_file_limit(concurrency)
    run_worker(
        _load_settings(data_dir, metrics_port),
        name=name or kind,
        concurrency=concurrency,
        kind=kind,
        ready_file=ready_file,
    )


@app.command("sweeper", rich_help_panel=_COMPONENTS_PANEL)
def sweeper_command(data_dir: DataDir = None, metrics_port: MetricsPort = None, ready_file: ReadyFile = None) -> None:
    """Recover lost participants, republish lost messages, record stops. You can run several."""
    from understudy.worker.sweeper import run_sweeper  # noqa: PLC0415

    run_sweeper(_load_settings(data_dir, metrics_port), ready_file)


@app.command("webhooks", rich_help_panel=_COMPONENTS_PANEL)
def webhooks_command(data_dir: DataDir = None, metrics_port: MetricsPort = None, ready_file: ReadyFile = None) -> None:
    """Deliver events to webhooks. You can run several."""
    from understudy.webhooks.process import run_webhooks  # noqa: PLC0415

    run_webhooks(_load_settings(data_dir, metrics_port), ready_file)


@app.command("migrate", rich_help_panel=_COMPONENTS_PANEL)
def migrate_command(data_dir: DataDir = None) -> None:
    """Apply pending database migrations."""
    from understudy.deploy.migrate import migrate  # noqa: PLC0415

    migrate(_load_settings(data_dir))


@app.command("prune", rich_help_panel=_COMPONENTS_PANEL)
def prune_command(
    *,
    older_than: Annotated[
        int,
        typer.Option(min=1, max=36_500, metavar="DAYS", help="Delete participants that ended more than DAYS days ago."),
    ],
    workspace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Limit to this workspace.", show_default="all")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be deleted; delete nothing.")] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, max=5000, help="Maximum participants deleted in one transaction.")
    ] = 200,
    pause_s: Annotated[float, typer.Option(min=0, max=60, help="Seconds between two transactions.")] = 0.05,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON and nothing else.")] = False,
) -> None:
    """Permanently delete old participants with their interactions and events.

    Runs in short transactions beside all components. You can stop it (Ctrl-C)
    and repeat it. Keeps the sources of kept participants, round 1 of a partly
    kept ask, and participants with an unrecorded stop or an event without a
    position. Keeps studies, asks and people.
    """
    from understudy.deploy.prune import prune  # noqa: PLC0415

    raise typer.Exit(
        prune(
            _load_settings(data_dir),
            older_than_days=older_than,
            workspace=workspace,
            batch_size=batch_size,
            pause_s=pause_s,
            dry=dry_run,
            as_json=as_json,
        )
    )


app.add_typer(tokens, name="token", rich_help_panel=_LOCAL_PANEL)
app.add_typer(workspaces, name="workspace", rich_help_panel=_LOCAL_PANEL)


@app.command("shop", rich_help_panel=_LOCAL_PANEL)
def shop_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the shop.")],
    delay_s: Annotated[float, typer.Option(min=0, max=60, help="Delay of each page in seconds.")] = 0,
) -> None:
    """Serve the demo shop on this machine for simulated people. Ctrl-C stops it."""
    from understudy.deploy.demo_server import serve  # noqa: PLC0415
    from understudy.deploy.shop.app import create_shop  # noqa: PLC0415

    serve(create_shop(delay_s=delay_s), port)


@app.command("chatbot", rich_help_panel=_LOCAL_PANEL)
def chatbot_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the chatbot.")],
    delay_s: Annotated[float, typer.Option(min=0, max=60, help="Delay of each reply in seconds.")] = 0,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Require the key in this file as bearer token.")
    ] = None,
) -> None:
    """Serve the demo chatbot on this machine for simulated people. Ctrl-C stops it."""
    from understudy.deploy.chatbot.app import create_chatbot  # noqa: PLC0415
    from understudy.deploy.demo_server import serve  # noqa: PLC0415

    key = key_file.read_text(encoding="utf-8").strip() if key_file else ""
    serve(create_chatbot(delay_s=delay_s, key=key), port)


def main() -> None:
    """Runs the command `understudy`; the process exits with its exit code."""
    gc_tuning.raise_gc_threshold()
    report_crashes()
    app(prog_name="understudy")


def _load_settings(data_dir: Path | None, metrics_port: int | None = None) -> "Settings":
    options = {"data_dir": data_dir, "metrics_port": metrics_port}
    return read_settings({name: value for name, value in options.items() if value is not None})


if __name__ == "__main__":
    main()
