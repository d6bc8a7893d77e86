"""The commands for the people of a workspace: `people …`."""

import codecs
import json
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.cli.console import CommandContext, server_command
from understudy.cli.filters import Age, Country, Language, Search, Trait, parse_people_filter
from understudy.cli.groups import Commands
from understudy.cli.numbers import positive_number, whole_number
from understudy.cli.options import Cursor, IdempotencyKey, Limit
from understudy.cli.render import empty_table, key_value_table, plain
from understudy.domain.errors import ValidationError

if TYPE_CHECKING:
    from understudy.envelopes.people import Person

app = typer.Typer(cls=Commands, no_args_is_help=True)

#: Maximum people shown after a create or import.
_PREVIEW_ROWS = 10
_LINE_BREAK = re.compile("\r\n|\r|\n")


@app.callback()
def people() -> None:
    """Show, create, import and export people."""


@app.command("list")
@server_command
def list_people(
    session: CommandContext,
    *,
    age: Age = None,
    country: Country = None,
    language: Language = None,
    trait: Trait = None,
    search: Search = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> None:
    """List the people that match all conditions; without conditions, all people."""
    where = parse_people_filter(age, country, language, trait, search)
    page = session.client.person_list(**where, limit=limit, cursor=cursor)
    if not page.items:
        none = (
            "No people match these filters."
            if where
            else "No people yet. Create some with `understudy people generate N`."
        )
        session.show(plain(none, "dim"))
        return
    size = [] if limit is None else [f"--limit {limit}"]
    command = " ".join(["people list", *_filter_options(age, country, language, trait, search), *size])
    session.show(people_table(page.items), *session.next_page_hint(page.next_cursor, command))


@app.command("generate")
@server_command
def generate(
    session: CommandContext,
    number: Annotated[int, typer.Argument(metavar="N", parser=positive_number, help="Number of people.")],
    seed: Annotated[
        int | None, typer.Option(parser=whole_number, metavar="S", help="Seed for reproducible people.")
    ] = None,
    key: IdempotencyKey = None,
) -> None:
    """Generate people of many countries, ages, habits and needs."""
    added = session.client.person_create(generate=number, seed=seed, idempotency_key=key).items
    rest = [plain(f"… and {len(added) - _PREVIEW_ROWS} more", "dim")] if len(added) > _PREVIEW_ROWS else []
    session.show(people_table(added[:_PREVIEW_ROWS]), *rest)


@app.command("import")
@server_command
def import_people(
    session: CommandContext,
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="CSV file with a header line, or JSON file; - reads standard input."),
    ] = None,
    *,
    panel: Annotated[
        str | None, typer.Option(metavar="NAME", help="Built-in panel instead of a file: varied-50.")
    ] = None,
    key: IdempotencyKey = None,
) -> None:
    """Import a file or a built-in panel: all people in it, or none if one is invalid."""
    if (file is None) == (panel is None):
        raise ValidationError("give exactly one of a file and --panel")
    if panel is not None:
        added = session.client.person_create(panel=panel, idempotency_key=key).items
    else:
        added = _import(session, _read_text(str(file)), str(file), key)
    rest = [plain(f"… and {len(added) - _PREVIEW_ROWS} more", "dim")] if len(added) > _PREVIEW_ROWS else []
    session.show(people_table(added[:_PREVIEW_ROWS]), *rest)


def _import(session: CommandContext, text: str, file: str, key: str | None) -> "list[Person]":
    if not text.lstrip("\ufeff \r\n\t").startswith(("{", "[")):
        # The API rejects a NUL before it parses lines and cannot name the line.
        before, nul, _ = text.partition("\0")
        if nul:
            line = len(_LINE_BREAK.findall(before)) + 1
            raise ValidationError(f"line {line}: NUL character; remove it. No people were imported.")
        return session.client.person_create(csv=text, idempotency_key=key).items
    content = _parse_json(text.removeprefix("\ufeff"), file)
    people = content if isinstance(content, list) else content.get("people", [content])
    return session.client.person_create(people=people, idempotency_key=key).items


@app.command("export")
@server_command
def export_people(
    session: CommandContext,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Output file: JSON if it ends in .json, else CSV; - or none prints."),
    ] = None,
    *,
    age: Age = None,
    country: Country = None,
    language: Language = None,
    trait: Trait = None,
    search: Search = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="csv|json", help="Format; overrides the file name.")
    ] = None,
) -> None:
    """Export the people that match all conditions to a file for `people import`."""
    if format_ not in (None, "csv", "json"):
        raise ValidationError(f"--format must be csv or json, not {format_!r}")
    default_format = "json" if session.as_json or (file is not None and file.suffix == ".json") else "csv"
    where = parse_people_filter(age, country, language, trait, search)
    is_json = (format_ or default_format) == "json"
    if is_json:
        text = session.client.person_export(where).model_dump_json(indent=2) + "\n"
    else:
        text = session.client.person_export(where, "csv")
    if file is None or str(file) == "-":
        session.print_text(text, is_json=is_json)
        return
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ValidationError(f"{file} cannot be written: {error.strerror}") from error
    session.show_data({"file": str(file)}, plain(f"Written to {file}"))


@app.command("show")
@server_command
def show(
    session: CommandContext,
    person: Annotated[str, typer.Argument(metavar="TP", help="Person: alias (tp-1f3) or UUID.")],
) -> None:
    """Show one person."""
    session.show(person_view(session.client.person_get(person)))


@app.command("add")
@server_command
def add(
    session: CommandContext,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="JSON file: one person or a list; - reads standard input.")
    ] = None,
    *,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Name of the person.")] = None,
    age: Annotated[int | None, typer.Option(parser=whole_number, metavar="YEARS", help="Age.")] = None,
    country: Annotated[str | None, typer.Option(metavar="CC", help="Country code such as DE.")] = None,
    language: Annotated[str | None, typer.Option(metavar="LL", help="Language code such as de.")] = None,
    trait: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Trait from 0 to 1, such as patience=0.2. Repeatable."),
    ] = None,
    bio: Annotated[str | None, typer.Option(metavar="TEXT", help="Short description.")] = None,
    key: IdempotencyKey = None,
) -> None:
    """Add one person from options, or people from a JSON file."""
    options = {"name": name, "age": age, "country": country, "language": language, "bio": bio}
    fields: dict[str, Any] = {field: value for field, value in options.items() if value is not None}
    if file is not None:
        if fields or trait:
            raise ValidationError("give either a file or the options of one person")
        content = _read(file)
        if isinstance(content, list):
            content = {"people": content}
        if set(content) == {"people"}:
            added = session.client.person_create(people=content["people"], idempotency_key=key).items
            session.show(people_table(added))
            return
        fields = content
    else:
        missing = [f"--{field}" for field in ("name", "age", "country", "language") if field not in fields]
        if missing:
            raise ValidationError(
                f"missing options: {', '.join(missing)}",
                suggestions=('Example: understudy people add --name "Ana Ruiz" --age 41 --country ES --language es',),
            )
        fields["traits"] = dict(map(_parse_trait, trait or ()))
    session.show(person_view(session.client.person_create(fields, idempotency_key=key)))


def people_table(people: "Iterable[Person]") -> Table:
    table = empty_table("person", "name", "age", "country", "language", "bio")
    for person in people:
        table.add_row(
            plain(person.alias),
            plain(person.name),
            str(person.age),
            plain(person.country),
            plain(person.language),
            plain(person.bio),
        )
    return table


def person_view(person: "Person") -> RenderableType:
    traits = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in person.traits.items()
    }
    return Group(
        Text.assemble(("Person ", "bold"), plain(person.alias, "bold"), "  ", plain(person.name)),
        key_value_table(
            id=person.id,
            age=person.age,
            country=person.country,
            language=person.language,
            bio=person.bio,
            traits=", ".join(f"{name} {value}" for name, value in traits.items()),
        ),
    )


def _parse_trait(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise ValidationError(f"--trait must look like patience=0.2, not {text!r}")
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _filter_options(
    age: str | None, country: list[str] | None, language: list[str] | None, trait: list[str] | None, search: str | None
) -> list[str]:
    """Returns the options of a list, quoted for a shell."""
    options = {"age": age, "country": country, "language": language, "trait": trait, "search": search}
    return [
        f"--{name} {shlex.quote(term)}"
        for name, value in options.items()
        for term in ([value] if isinstance(value, str) else value or ())
    ]


def _read_text(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise ValidationError(f"{file} cannot be read: {error.strerror}") from error
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        # Line breaks stay as they are: those in a quoted cell are text.
        return content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValidationError(f"{file} is neither UTF-8 nor UTF-16 text; save it as UTF-8") from error


def _parse_json(text: str, file: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"{file} is not JSON: {error}") from error


def _read(file: str) -> Any:
    content = _parse_json(_read_text(file), file)
    if not isinstance(content, dict | list):
        raise ValidationError(f"{file} must contain one person or a list of people")
    return content
