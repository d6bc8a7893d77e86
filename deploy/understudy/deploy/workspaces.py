"""`understudy workspace`: shows and sets limits, quotas and use of a workspace, directly in the store."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from understudy.cli.groups import Commands
from understudy.cli.render import plain
from understudy.cli.terminal import make_console, write_json
from understudy.deploy.command_settings import read_settings
from understudy.deploy.tokens import AsJson, DataDir, write_to_store
from understudy.domain.errors import ValidationError
from understudy.domain.workspace_settings import NO_LIMIT, WORKSPACE_SETTINGS, WorkspaceSetting

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from understudy.settings import Settings

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Show and set limits and quotas of workspaces.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the workspace.")]

#: Pages of events that `show` measures, in one transaction.
_MAX_PAGES = 50


@app.command("list")
def list_command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all workspaces by name."""
    from understudy.store.workspaces import list_rows  # noqa: PLC0415

    rows = [{"id": str(row.id), "name": row.name} for row in write_to_store(data_dir, list_rows)]
    if as_json:
        write_json({"items": rows})
        return
    table = Table("id", "workspace", box=None)
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*map(plain, row.values()))
    make_console().print(table)


@app.command("show")
def show_command(name: Name, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what is set, the value in force, and today's use (UTC)."""
    settings = read_settings({"data_dir": data_dir} if data_dir else {})
    _show(write_to_store(data_dir, lambda connection: _describe(connection, name, settings)), as_json=as_json)


def set_command(name: str, data_dir: DataDir = None, as_json: AsJson = False, **texts: str | None) -> None:
    """Set limits, quotas and retention of a workspace, then show it.

    A value is a figure, `unlimited` (for retention `none`), or `default` for that of the installation.
    API processes apply it to the next request, the sweeper within a minute.
    """
    from understudy.store.workspaces import set_values  # noqa: PLC0415

    given = {one.name: one.parse(text) for one in WORKSPACE_SETTINGS if (text := texts[one.name]) is not None}
    if not given:
        options = ", ".join(one.option for one in WORKSPACE_SETTINGS)
        raise ValidationError(f"Nothing to set: pass at least one of {options}.")
    settings = read_settings({"data_dir": data_dir} if data_dir else {})

    def work(connection: "Connection") -> dict[str, Any]:
        set_values(connection, name, given)
        return _describe(connection, name, settings)

    _show(write_to_store(data_dir, work), as_json=as_json)


@app.command("pause")
def pause_command(name: Name, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Pause a workspace: nothing of it starts, and its runs stop after their next interaction."""
    from understudy.store import pauses  # noqa: PLC0415

    _change_pause(name, data_dir, pauses.pause_workspace, "is paused", as_json=as_json)


@app.command("resume")
def resume_command(name: Name, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Resume a paused workspace: its participants continue where they stopped."""
    from understudy.store import pauses  # noqa: PLC0415

    _change_pause(name, data_dir, pauses.resume_workspace, "is not paused", as_json=as_json)


def _change_pause(
    name: str, data_dir: DataDir, change: Callable[["Connection", Any], object], now: str, *, as_json: bool
) -> None:
    from understudy.store.workspaces import find_by_name  # noqa: PLC0415

    def work(connection: "Connection") -> dict[str, Any]:
        change(connection, find_by_name(connection, name).id)
        row = find_by_name(connection, name)
        since = None if row.paused_at is None else row.paused_at.isoformat().replace("+00:00", "Z")
        return {"id": str(row.id), "name": row.name, "paused_at": since}

    answer = write_to_store(data_dir, work)
    if as_json:
        write_json(answer)
    else:
        make_console().print(plain(f"Workspace {name} {now}."))


def _with_an_option_each(command: Callable[..., None]) -> Callable[..., None]:
    """Returns `command` with an option for each setting, which Typer reads from its signature."""
    import inspect  # noqa: PLC0415

    def parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    options = [parameter(one.name, _option(one), None) for one in WORKSPACE_SETTINGS]
    own = [parameter("name", Name), parameter("data_dir", DataDir, None), parameter("as_json", AsJson, False)]
    command.__signature__ = inspect.Signature([own[0], *options, *own[1:]])  # type: ignore[attr-defined]
    return command


def _option(setting: WorkspaceSetting) -> Any:
    return Annotated[
        str | None,
        typer.Option(setting.option, metavar="N", help=f"{setting.description}.", show_default="unchanged"),
    ]


app.command("set")(_with_an_option_each(set_command))


def _describe(connection: "Connection", name: str, settings: "Settings") -> dict[str, Any]:
    """Returns the workspace as JSON values. Raises NotFound."""
    from understudy.store.workspaces import find_by_name  # noqa: PLC0415

    row = find_by_name(connection, name)
    used = _used(connection, row.id, settings.value_in_force(row, "requests_per_minute"))
    return {
        "id": str(row.id),
        "name": row.name,
        "paused_at": None if row.paused_at is None else row.paused_at.isoformat().replace("+00:00", "Z"),
        "settings": {
            one.name: {
                "set": getattr(row, one.name),
                "default": getattr(settings, one.default_setting),
                "in_force": settings.value_in_force(row, one.name),
                "used": used.get(one.name),
            }
            for one in WORKSPACE_SETTINGS
        },
    }


def _used(connection: "Connection", workspace_id: Any, per_minute: int) -> dict[str, int]:
    """Returns the use of each limit and quota that is counted."""
    from understudy.store import call_limits, limits, quotas  # noqa: PLC0415

    for _ in range(_MAX_PAGES):
        if not quotas.measure(connection, workspace_id):
            break
    return {
        "requests_per_minute": call_limits.count_requests(connection, workspace_id, per_minute),
        "event_streams": 0,
        "waits": 0,
        **call_limits.count_places(connection, workspace_id),
        "max_running": sum(row.total for row in limits.running(connection, workspace_id)),
        "participants_per_day": quotas.participants_today(connection, workspace_id),
        "model_tokens_per_day": quotas.model_tokens_today(connection, workspace_id),
        "stored_bytes": quotas.stored_bytes(connection, workspace_id),
    }


def _show(workspace: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(workspace)
        return
    paused = f", paused since {workspace['paused_at']}" if workspace["paused_at"] else ""
    table = Table("setting", "set", "default", "in force", "used", box=None, title=plain(workspace["name"] + paused))
    no_limits = {one.name: one.no_limit if one.is_limit else None for one in WORKSPACE_SETTINGS}
    for name, values in workspace["settings"].items():
        figures = (_figure(values[key], no_limits[name]) for key in ("set", "default", "in_force"))
        table.add_row(name, *figures, _figure(values["used"], None))
    make_console().print(table)


def _figure(value: float | None, no_limit: str | None) -> str:
    if value is None:
        return "-"
    return no_limit if no_limit and value == NO_LIMIT else f"{value:,}"
