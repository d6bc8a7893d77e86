"""Numbers on a command line, read as strictly as the API reads them in JSON."""

import re

import typer


def whole_number(text: str | int) -> int:
    """`7`, but neither `7.0` nor `1_000` nor another script's digits."""
    if isinstance(text, str) and not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise typer.BadParameter(f"{text!r} is not a whole number.")
    return int(text)


def positive_number(text: str | int) -> int:
    number = whole_number(text)
    if number < 1:
        raise typer.BadParameter(f"{number} is too small: it must be 1 or more.")
    return number


def seconds(text: str | float) -> float:
    """More than 0, and no NaN or infinity."""
    if isinstance(text, str) and not re.fullmatch(r"[+-]?[0-9]{1,12}(\.[0-9]+)?", text):
        raise typer.BadParameter(f"{text!r} is not a number of seconds.")
    number = float(text)
    if number <= 0:
        raise typer.BadParameter(f"{text} is too small: it must be more than 0 seconds.")
    return number
