"""Parses command-line numbers as strictly as the API parses JSON numbers."""

import re

import typer


def whole_number(text: str | int) -> int:
    """Accepts `7`; rejects `7.0`, `1_000` and digits of other scripts. Raises BadParameter."""
    if isinstance(text, str) and not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise typer.BadParameter(f"{text!r} is not a whole number; pass digits only, such as 7.")
    return int(text)


def positive_number(text: str | int) -> int:
    number = whole_number(text)
    if number < 1:
        raise typer.BadParameter(f"{number} is too small: it must be 1 or more.")
    return number


def seconds(text: str | float) -> float:
    """Accepts a number of seconds above 0; rejects NaN and infinity. Raises BadParameter."""
    if isinstance(text, str) and not re.fullmatch(r"[+-]?[0-9]{1,12}(\.[0-9]+)?", text):
        raise typer.BadParameter(f"{text!r} is not a number of seconds; pass a number such as 7.5.")
    number = float(text)
    if number <= 0:
        raise typer.BadParameter(f"{text} is too small: it must be more than 0 seconds.")
    return number
