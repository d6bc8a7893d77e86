"""Options that say which people are meant."""

import re
from typing import Annotated, Any

import typer

from understudy.domain.errors import ValidationError

_AGE_RANGE = re.compile(r"(\d{0,3})\.\.(\d{0,3})|(\d{1,3})")

Age = Annotated[
    str | None,
    typer.Option(metavar="FROM..TO", help="Only people of this age, like 18..30, 60.., ..30 or 42."),
]
Country = Annotated[
    list[str] | None, typer.Option(metavar="CC", help="Only of this country, like DE. May be repeated.")
]
Language = Annotated[
    list[str] | None, typer.Option(metavar="LL", help="Only with this language, like de. May be repeated.")
]
Trait = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEST",
        help="Only with this trait: 'patience<0.3', accessibility=no_pointer, or income. All of several.",
    ),
]
Search = Annotated[
    str | None,
    typer.Option(metavar="WORDS", help="Only with these words in name, bio, country or language."),
]


def parse_people_filter(
    age: str | None,
    country: list[str] | None,
    language: list[str] | None,
    trait: list[str] | None,
    search: str | None,
) -> dict[str, Any]:
    """The conditions that the options name, as the API takes them. Raises ValidationError."""
    where = {"country": country, "language": language, "trait": trait, "search": search}
    given: dict[str, Any] = {name: value for name, value in where.items() if value}
    if age is not None:
        match = _AGE_RANGE.fullmatch(age.strip())
        if match is None or age.strip() == "..":
            raise ValidationError(f"--age must look like 18..30, 60.., ..30 or 42, not {age!r}")
        youngest, oldest = (match[3], match[3]) if match[3] else (match[1], match[2])
        ages = {"age_min": youngest, "age_max": oldest}
        given |= {name: int(years) for name, years in ages.items() if years}
    return given
