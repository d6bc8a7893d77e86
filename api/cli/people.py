"""The commands for the people of a workspace."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.cli.console import Session, talks_to_server
from api.cli.numbers import positive_number, whole_number
from api.cli.render import columns, facts, plain
from shared.domain.errors import ValidationError

if TYPE_CHECKING:
    from shared.envelopes import Person

app = typer.Typer(no_args_is_help=True)

#: Of a long panel just made, this many are shown.
_FIRST = 10


@app.callback()
def people() -> None:
    """The people who take part: show them, or make more."""


@app.command("list")
@talks_to_server
def list_people(
    session: Session,
    limit: Annotated[
        int | None,
        typer.Option(parser=positive_number, metavar="N", help="At most this many.", show_default="50"),
    ] = None,
    cursor: Annotated[
        str | None, typer.Option(metavar="C", help="Where the list goes on: its next_cursor.")
    ] = None,
) -> None:
    """List your people."""
    page = session.client.person_list(limit=limit, cursor=cursor)
    if not page.items:
        session.show(plain("No people. understudy people generate N makes some.", "dim"))
        return
    session.show(people_table(page.items), *session.more(page.next_cursor, "people list"))


@app.command("generate")
@talks_to_server
def generate(
    session: Session,
    number: Annotated[int, typer.Argument(metavar="N", parser=positive_number, help="How many.")],
    seed: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="S", help="The same seed makes the same people."),
    ] = None,
) -> None:
    """Make up people: of many countries, ages, habits and needs."""
    made = session.client.person_create(generate=number, seed=seed).items
    rest = [plain(f"… and {len(made) - _FIRST} more", "dim")] if len(made) > _FIRST else []
    session.show(people_table(made[:_FIRST]), *rest)


@app.command("show")
@talks_to_server
def show(
    session: Session,
    person: Annotated[str, typer.Argument(metavar="TP", help="A person: an alias like tp-1f3, or a UUID.")],
) -> None:
    """Show one person."""
    session.show(person_view(session.client.person_get(person)))


@app.command("add")
@talks_to_server
def add(
    session: Session,
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
    table = columns("person", "name", "age", "country", "language", "bio")
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
        facts(
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


def _read(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as error:
        raise ValidationError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValidationError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict | list):
        raise ValidationError(f"{file} must hold a person, or a list of them")
    return content
