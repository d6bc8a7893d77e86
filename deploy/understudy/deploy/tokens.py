"""`understudy token`: creates, lists and revokes tokens directly in the store. It needs no API."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import typer
from rich.table import Table

from understudy.cli.groups import Commands
from understudy.cli.render import plain
from understudy.cli.terminal import make_console, write_json, write_line
from understudy.deploy.command_settings import read_settings
from understudy.domain.errors import NotFound, ValidationError
from understudy.domain.roles import Role

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Create, list and revoke access tokens.")

DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Data folder of `understudy up`. Without it: $UNDERSTUDY_DATA_DIR, then the default.",
        show_default="./.understudy",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON and nothing else.")]

MAX_NAME_LENGTH = 100

Result = TypeVar("Result")


@app.command("create")
def create_command(
    workspace: Annotated[
        str, typer.Option(metavar="NAME", help="Workspace of the token; created if it does not exist.")
    ],
    role: Annotated[
        Literal["viewer", "editor", "admin"],
        typer.Option(metavar="ROLE", help="viewer reads, editor also writes and runs, admin also deletes."),
    ] = "admin",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a token and print it once; only its hash is stored."""
    from understudy.store.workspaces import create_token  # noqa: PLC0415

    name = workspace.strip()
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise ValidationError(f"--workspace must have 1 to {MAX_NAME_LENGTH} printable characters.")
    token = write_to_store(data_dir, lambda connection: create_token(connection, name, Role(role)), creates_store=True)
    if as_json:
        fields = {"id": str(token.id), "workspace_id": str(token.workspace_id), "role": role, "token": token.secret}
        write_json(fields)
        return
    created = f"Created workspace {name!r} and its first token. Add people: `understudy people generate 24`."
    added = f"Added a token to workspace {name!r}."
    write_line(f"{created if token.workspace_is_new else added} Store the token: it is not shown again.", stderr=True)
    write_line(token.secret)


@app.command("list")
def list_command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all tokens, without their secrets."""
    from understudy.envelopes.base import rfc3339  # noqa: PLC0415
    from understudy.store.workspaces import list_tokens  # noqa: PLC0415

    rows = [
        {
            "id": str(row.id),
            "workspace": row.name,
            "role": row.role or Role.ADMIN,
            "begins_with": row.hint,
            "created_at": rfc3339(row.created_at),
            "revoked_at": rfc3339(row.revoked_at) if row.revoked_at else None,
        }
        for row in write_to_store(data_dir, list_tokens)
    ]
    if as_json:
        write_json({"items": rows})
        return
    table = Table("id", "workspace", "role", "begins", "created", "revoked", box=None, padding=(0, 1, 0, 0))
    # Users copy the id: a narrow terminal must not truncate it.
    table.columns[0].no_wrap = True
    table.columns[0].min_width = len(str(UUID(int=0)))
    for column in table.columns[2:]:
        column.no_wrap = True
    for row in rows:
        # The days fit beside the id; --json has the times.
        days = (str(row[name] or "")[:10] for name in ("created_at", "revoked_at"))
        table.add_row(*(plain(cell) for cell in (row["id"], row["workspace"], row["role"], row["begins_with"], *days)))
    make_console().print(table)


@app.command("revoke")
def revoke_command(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Token id from `understudy token list`.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a token, effective with the next request."""
    from understudy.store.workspaces import revoke_token  # noqa: PLC0415

    try:
        id_ = UUID(token_id)
    except ValueError:
        raise ValidationError("ID must be a UUID; copy it from `understudy token list`.") from None
    write_to_store(data_dir, lambda connection: revoke_token(connection, id_))
    write_line(f"Revoked token {id_}.", stderr=True)


def write_to_store(data_dir: Path | None, work: Callable[[Any], Result], *, creates_store: bool = False) -> Result:
    """Returns the result of `work` in one transaction. Never migrates a store.

    With `creates_store`, creates the embedded store if it does not exist. Raises NotFound for a store without
    schema.
    """
    from understudy.deploy.migrate import has_schema, migrate  # noqa: PLC0415
    from understudy.store.engine import Store  # noqa: PLC0415

    settings = read_settings({"data_dir": data_dir} if data_dir else {})
    if not settings.database_url and not _has_content(settings.database_file):
        if not creates_store:
            raise _no_schema(f"There is no store in {settings.data_dir}.")
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.database_file.touch(mode=0o600)
        migrate(settings)
    store = Store(settings.store_url)
    try:
        with store.read() as connection:
            if not has_schema(connection):
                raise _no_schema("The store has no schema.")
        return store.write(work)
    finally:
        store.dispose()


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _no_schema(problem: str) -> NotFound:
    return NotFound(
        problem,
        suggestions=("Create it with `understudy up` or `understudy migrate`, or name another one with --data-dir.",),
    )
