"""The command `understudy`: what talks to an API, and what runs on this machine.

Every command imports what it needs when it runs: `--help`, and commands that only talk to a server, must not
pay for the store, Celery and the web framework.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from understudy import gc_tuning
from understudy.cli import app
from understudy.deploy.command_settings import read_settings
from understudy.deploy.tokens import app as tokens

if TYPE_CHECKING:
    from understudy.settings import Settings

_LOCAL_PANEL = "This machine"
_COMPONENTS_PANEL = "Components"

DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of store, broker, tokens and logs. Else $UNDERSTUDY_DATA_DIR, else ./.understudy.",
        show_default=False,
    ),
]
Host = Annotated[str, typer.Option(help="Address the API listens on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 takes a free one.")]
Concurrency = Annotated[
    int, typer.Option(min=1, max=1000, help="Simulations at a time in one worker process.")
]
Workers = Annotated[
    int, typer.Option(min=0, max=64, help="Worker processes; 0 runs nothing on this machine.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Port of its /metrics; 0 takes a free one. Else $UNDERSTUDY_METRICS_PORT, else none.",
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
        int, typer.Option(min=0, max=65535, help="Port of Flower; 0 takes a free one.")
    ] = 0,
    flower: Annotated[bool, typer.Option("--flower/--no-flower", help="Start Flower too.")] = True,
    broker_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the broker; 0 takes a free one.")
    ] = 0,
) -> None:
    """Run everything on this machine: broker, API, workers, sweeper, Flower. Ctrl-C stops it.

    Prints `ready http://HOST:PORT` once all of it works. What is unfinished when it stops goes on with the
    next `up` on the same folder. Exit code 1 if it can't run, for instance as it already does.
    """
    from understudy.deploy.stack import StackPlan  # noqa: PLC0415
    from understudy.deploy.up import up  # noqa: PLC0415

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
    """Show the main job on a demo shop: run, cancel, extend, wait.

    Takes less than a minute and leaves nothing behind.
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
        str | None, typer.Option(help="Its name, for logs and Flower.", show_default="what it does")
    ] = None,
    concurrency: Concurrency = 100,
    control: Annotated[
        bool, typer.Option("--control", help="Process stop tasks instead of simulations.")
    ] = False,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Run quarantined participants, one at a time."),
    ] = False,
    metrics_port: MetricsPort = None,
    ready_file: ReadyFile = None,
) -> None:
    """Run simulations. A complete fleet also has one worker --control and one --alone."""
    if control and alone:
        raise typer.BadParameter("--control and --alone are two different workers: give one of them")
    from understudy.worker.process import run_worker  # noqa: PLC0415

    kind: Literal["run", "control", "alone"] = "control" if control else "alone" if alone else "run"
    run_worker(
        _load_settings(data_dir, metrics_port),
        name=name or kind,
        concurrency=concurrency,
        kind=kind,
        ready_file=ready_file,
    )


@app.command("sweeper", rich_help_panel=_COMPONENTS_PANEL)
def sweeper_command(
    data_dir: DataDir = None, metrics_port: MetricsPort = None, ready_file: ReadyFile = None
) -> None:
    """Recover lost participants, republish lost messages, record stops. Any number may run."""
    from understudy.worker.sweeper import run_sweeper  # noqa: PLC0415

    run_sweeper(_load_settings(data_dir, metrics_port), ready_file)


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
        typer.Option(
            min=1, max=36_500, metavar="DAYS", help="Delete participants that ended more than DAYS days ago."
        ),
    ],
    workspace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this workspace.", show_default="all")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would be deleted; delete nothing.")
    ] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, max=5000, help="Participants that one transaction removes at most.")
    ] = 200,
    pause_s: Annotated[float, typer.Option(min=0, max=60, help="Seconds between two transactions.")] = 0.05,
    data_dir: DataDir = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print JSON, and nothing else.")
    ] = False,
) -> None:
    """Remove participants that ended long ago, with their interactions and events, for good.

    May run beside everything else, in short transactions; may be stopped (Ctrl-C) and repeated. Who stays
    although old: those that somebody who stays was extended from, the first round of an ask of which
    something stays, and what is still owed a stop or a position. Studies, asks and people stay.
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


@app.command("shop", rich_help_panel=_LOCAL_PANEL)
def shop_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")],
    delay_s: Annotated[float, typer.Option(min=0, max=60, help="Seconds each page takes.")] = 0,
) -> None:
    """Serve the demo shop on this machine, for people to visit. Ctrl-C stops it."""
    import uvicorn  # noqa: PLC0415

    from understudy.deploy.shop.app import create_shop  # noqa: PLC0415

    uvicorn.run(create_shop(delay_s=delay_s), host="127.0.0.1", port=port, access_log=False)


@app.command("chatbot", rich_help_panel=_LOCAL_PANEL)
def chatbot_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")],
    delay_s: Annotated[float, typer.Option(min=0, max=60, help="Seconds each reply takes.")] = 0,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Wants `Bearer` and what this file holds.")
    ] = None,
) -> None:
    """Serve the demo chatbot on this machine, for people to talk to. Ctrl-C stops it."""
    import uvicorn  # noqa: PLC0415

    from understudy.deploy.chatbot.app import create_chatbot  # noqa: PLC0415

    key = key_file.read_text(encoding="utf-8").strip() if key_file else ""
    uvicorn.run(create_chatbot(delay_s=delay_s, key=key), host="127.0.0.1", port=port, access_log=False)


def main() -> None:
    """Entry point of the command `understudy`."""
    gc_tuning.raise_gc_threshold()
    app(prog_name="understudy")


def _load_settings(data_dir: Path | None, metrics_port: int | None = None) -> "Settings":
    given = {"data_dir": data_dir, "metrics_port": metrics_port}
    return read_settings({name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    main()
