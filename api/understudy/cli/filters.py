"""Options that filter people."""

import re
from typing import Annotated, Any

import typer

from understudy.domain.errors import ValidationError

_AGE_RANGE = re.compile(r"(\d{0,3})\.\.(\d{0,3})|(\d{1,3})")

Age = Annotated[
    str | None, typer.Option(metavar="FROM..TO", help="Select people of this age in years: 18..30, 60.., ..30 or 42.")
]
Country = Annotated[
    list[str] | None, typer.Option(metavar="CC", help="Select only this country, such as DE. Repeatable.")
]
Language = Annotated[
    list[str] | None, typer.Option(metavar="LL", help="Select only this language, such as de. Repeatable.")
]
Trait = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEST",
        help="Select a trait: 'patience<0.3', accessibility=no_pointer, or income. Repeat to require all.",
    ),
]
Search = Annotated[
    str | None, typer.Option(metavar="WORDS", help="Select people with these words in name, bio, country or language.")
]


def parse_people_filter(
    age: str | None, country: list[str] | None, language: list[str] | None, trait: list[str] | None, search: str | None
) -> dict[str, Any]:
    """Returns the conditions of the options as the API accepts them. Raises ValidationError."""
    where = {"country": country, "language": language, "trait": trait, "search": search}
    conditions: dict[str, Any] = {name: value for name, value in where.items() if value}
    if age is not None:
        match = _AGE_RANGE.fullmatch(age.strip())
        if match is None or age.strip() == "..":
            raise ValidationError(f"--age must look like 18..30, 60.., ..30 or 42, not {age!r}")
        youngest, oldest = (match[3], match[3]) if match[3] else (match[1], match[2])
        ages = {"age_min": youngest, "age_max": oldest}
        conditions |= {name: int(years) for name, years in ages.items() if years}
    return conditions
