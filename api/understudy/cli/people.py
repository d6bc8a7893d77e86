"""The commands for the people of a workspace."""

import json
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
from understudy.cli.numbers import positive_number, whole_number
from understudy.cli.render import empty_table, key_value_table, plain
from understudy.domain.errors import ValidationError

if TYPE_CHECKING:
    from understudy.envelopes.people import Person

app = typer.Typer(no_args_is_help=True)

#: Of a long panel just made, this many are shown.
_PREVIEW_ROWS = 10


@app.callback()
def people() -> None:
    """The people who take part: show them, or make more."""


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
    limit: Annotated[
        int | None,
        typer.Option(parser=positive_number, metavar="N", help="At most this many.", show_default="50"),
    ] = None,
    cursor: Annotated[
        str | None, typer.Option(metavar="C", help="Where the list goes on: its next_cursor.")
    ] = None,
) -> None:
    """List your people, or those of them for whom all conditions hold."""
    where = parse_people_filter(age, country, language, trait, search)
    page = session.client.person_list(**where, limit=limit, cursor=cursor)
    if not page.items:
        none = (
            "No people match these filters."
            if where
            else "No people. understudy people generate N makes some."
        )
        session.show(plain(none, "dim"))
        return
    command = " ".join(["people list", *_filter_options(age, country, language, trait, search)])
    session.show(people_table(page.items), *session.more(page.next_cursor, command))


@app.command("generate")
@server_command
def generate(
    session: CommandContext,
    number: Annotated[int, typer.Argument(metavar="N", parser=positive_number, help="How many.")],
    seed: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="S", help="The same seed makes the same people."),
    ] = None,
) -> None:
    """Make up people: of many countries, ages, habits and needs."""
    made = session.client.person_create(generate=number, seed=seed).items
    rest = [plain(f"… and {len(made) - _PREVIEW_ROWS} more", "dim")] if len(made) > _PREVIEW_ROWS else []
    session.show(people_table(made[:_PREVIEW_ROWS]), *rest)


@app.command("import")
@server_command
def import_people(
    session: CommandContext,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="CSV with a line of column names, or JSON. - reads standard input."
        ),
    ] = None,
    *,
    panel: Annotated[
        str | None, typer.Option(metavar="NAME", help="A panel that comes along instead: varied-50.")
    ] = None,
) -> None:
    """Add a panel out of a file, or one that comes along: everybody in it, or nobody."""
    if (file is None) == (panel is None):
        raise ValidationError("give exactly one of a file and --panel")
    if panel is not None:
        made = session.client.person_create(panel=panel).items
    else:
        made = _import(session, _read_text(str(file)), str(file))
    rest = [plain(f"… and {len(made) - _PREVIEW_ROWS} more", "dim")] if len(made) > _PREVIEW_ROWS else []
    session.show(people_table(made[:_PREVIEW_ROWS]), *rest)


def _import(session: CommandContext, text: str, file: str) -> "list[Person]":
    if not text.lstrip("\ufeff \r\n\t").startswith(("{", "[")):
        # The API refuses such a text before it knows that it has lines.
        before, nul, _ = text.partition("\0")
        if nul:
            line = before.count("\n") + 1
            raise ValidationError(f"line {line}: the text has a NUL; leave it out. Nobody was imported.")
        return session.client.person_create(csv=text).items
    content = _parse_json(text.removeprefix("\ufeff"), file)
    people = content if isinstance(content, list) else content.get("people", [content])
    return session.client.person_create(people=people).items


@app.command("export")
@server_command
def export_people(
    session: CommandContext,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Where to: JSON if it ends in .json, else CSV. Else it is printed."
        ),
    ] = None,
    *,
    age: Age = None,
    country: Country = None,
    language: Language = None,
    trait: Trait = None,
    search: Search = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="csv|json", help="Whatever the file is called.")
    ] = None,
) -> None:
    """Write your people, or those for whom all conditions hold, to a file that can be imported."""
    if format_ not in (None, "csv", "json"):
        raise ValidationError(f"--format must be csv or json, not {format_!r}")
    by_name = "json" if session.as_json or (file is not None and file.suffix == ".json") else "csv"
    where = parse_people_filter(age, country, language, trait, search)
    if (format_ or by_name) == "csv":
        text = session.client.person_export(where, "csv")
    else:
        text = session.client.person_export(where).model_dump_json(indent=2) + "\n"
    if file is None:
        session.print_line(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValidationError(f"{file} cannot be written: {error.strerror}") from error
    session.show_data({"file": str(file)}, plain(f"Written to {file}"))


@app.command("show")
@server_command
def show(
    session: CommandContext,
    person: Annotated[str, typer.Argument(metavar="TP", help="A person: an alias like tp-1f3, or a UUID.")],
) -> None:
    """Show one person."""
    session.show(person_view(session.client.person_get(person)))


@app.command("add")
@server_command
def add(
    session: CommandContext,
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="JSON: one person, or a list of them. - reads standard input."),
    ] = None,
    *,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="What they are called.")] = None,
    age: Annotated[int | None, typer.Option(parser=whole_number, metavar="YEARS", help="How old.")] = None,
    country: Annotated[str | None, typer.Option(metavar="CC", help="Country code, like DE.")] = None,
    language: Annotated[str | None, typer.Option(metavar="LL", help="Language code, like de.")] = None,
    trait: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A leaning from 0 to 1, like patience=0.2. May be repeated."),
    ] = None,
    bio: Annotated[str | None, typer.Option(metavar="TEXT", help="A few words about them.")] = None,
) -> None:
    """Add a person of your own, or a file of them."""
    options = {"name": name, "age": age, "country": country, "language": language, "bio": bio}
    given: dict[str, Any] = {field: value for field, value in options.items() if value is not None}
    if file is not None:
        if given or trait:
            raise ValidationError("give a file, or one person's options, not both")
        content = _read(file)
        if isinstance(content, list):
            content = {"people": content}
        if set(content) == {"people"}:
            made = session.client.person_create(people=content["people"]).items
            session.show(people_table(made))
            return
        given = content
    else:
        missing = [f"--{field}" for field in ("name", "age", "country", "language") if field not in given]
        if missing:
            raise ValidationError(
                f"missing: {', '.join(missing)}",
                suggestions=(
                    'Like: understudy people add --name "Ana Ruiz" --age 41 --country ES --language es',
                ),
            )
        given["traits"] = dict(map(_trait, trait or ()))
    session.show(person_view(session.client.person_create(given)))


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
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in person.traits.items()
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


def _trait(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise ValidationError(f"--trait must look like patience=0.2, not {text!r}")
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _filter_options(
    age: str | None,
    country: list[str] | None,
    language: list[str] | None,
    trait: list[str] | None,
    search: str | None,
) -> list[str]:
    """The options of a list once more, for a shell."""
    options = {"age": age, "country": country, "language": language, "trait": trait, "search": search}
    return [
        f"--{name} {shlex.quote(one)}"
        for name, value in options.items()
        for one in ([value] if isinstance(value, str) else value or ())
    ]


def _read_text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ValidationError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValidationError(f"{file} is not UTF-8 text; save it as such") from error


def _parse_json(text: str, file: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"{file} is not JSON: {error}") from error


def _read(file: str) -> Any:
    content = _parse_json(_read_text(file), file)
    if not isinstance(content, dict | list):
        raise ValidationError(f"{file} must hold a person, or a list of them")
    return content
