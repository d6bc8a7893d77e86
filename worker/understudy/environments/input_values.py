"""Values of inputs: how a browser cleans, reads and compares them, by the type of the input."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal, InvalidOperation

#: Types whose values are compared with `min`, `max` and `step`.
RANGED = frozenset(("number", "range", "date", "month", "week", "time", "datetime-local"))
#: What a person has to type, by the type of the input.
FORMATS = {
    "date": "YYYY-MM-DD",
    "month": "YYYY-MM",
    "week": "YYYY-Www",
    "time": "HH:MM",
    "datetime-local": "YYYY-MM-DDTHH:MM",
    "color": "#rrggbb",
    "number": "a number",
    "range": "a number",
}
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)
_COLOR = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,3}))?)?", re.ASCII)
_WEEK = re.compile(r"(\d{4})-W(\d\d)", re.ASCII)
_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 86_400_000
#: Size of one step and default `step`, by type.
_SCALES = {"date": _DAY_MS, "week": 7 * _DAY_MS, "time": 1_000, "datetime-local": 1_000}
_STEPS = {"time": 60, "datetime-local": 60}
#: Weeks begin on Mondays; the epoch was a Thursday.
_WEEK_BASE = Decimal(-3 * _DAY_MS)
_DIGITS = 30


def sanitize_value(kind: str, value: str, rules: Mapping[str, str]) -> str:
    """Returns the value that an input of this type has when `value` is written in the page or set."""
    if kind in ("hidden", "file"):
        return value
    value = re.sub(r"[\r\n]+", "", value)
    if kind == "email" and "multiple" in rules:
        return ",".join(part.strip(" \t\f") for part in value.split(","))
    if kind in ("email", "url"):
        return value.strip(" \t\f")
    if kind == "color":
        return value.lower() if _COLOR.fullmatch(value) else "#000000"
    if kind == "range":
        return _range_value(to_number(kind, value), rules)
    if kind in RANGED and to_number(kind, value) is None:
        return ""
    return _local_time(value) if kind == "datetime-local" else value


def to_number(kind: str, value: str) -> Decimal | None:
    """Returns the number that stands for the value, in milliseconds or months for dates; None without one."""
    try:
        if kind in ("number", "range"):
            return Decimal(value) if _NUMBER.fullmatch(value) and len(value) <= 100 else None
        if kind == "date":
            return _milliseconds(_date(value))
        if kind == "month" and (found := _MONTH.fullmatch(value)):
            month = date(int(found[1]), int(found[2]), 1)
            return Decimal((month.year - 1970) * 12 + month.month - 1)
        if kind == "week" and (found := _WEEK.fullmatch(value)):
            return _milliseconds(date.fromisocalendar(int(found[1]), int(found[2]), 1))
        if kind == "time":
            return _time(value)
        if kind == "datetime-local":
            day, _, time = value.replace(" ", "T").partition("T")
            clock = _time(time)
            return None if clock is None else _milliseconds(_date(day)) + clock
    except (ValueError, InvalidOperation):
        return None
    return None


def step_error(kind: str, number: Decimal, rules: Mapping[str, str]) -> bool:
    """Returns whether the number lies between two steps."""
    step = _step(kind, rules)
    if step is None:
        return False
    try:
        return (number - _step_base(kind, rules)) % step != 0
    except InvalidOperation:
        # Beyond the digits that are compared.
        return False


def _step(kind: str, rules: Mapping[str, str]) -> Decimal | None:
    written = rules.get("step", "").strip()
    if written.lower() == "any":
        return None
    number = to_number("number", written)
    if number is None or number <= 0:
        number = Decimal(_STEPS.get(kind, 1))
    return number * _SCALES.get(kind, 1)


def _step_base(kind: str, rules: Mapping[str, str]) -> Decimal:
    for name in ("min", "value"):
        if (base := to_number(kind, rules.get(name, ""))) is not None:
            return base
    return _WEEK_BASE if kind == "week" else Decimal(0)


def _range_value(number: Decimal | None, rules: Mapping[str, str]) -> str:
    low = to_number("range", rules.get("min", ""))
    high = to_number("range", rules.get("max", ""))
    low = Decimal(0) if low is None else low
    high = Decimal(100) if high is None else high
    high = max(low, high)
    number = low + (high - low) / 2 if number is None else number
    number = max(low, min(high, number))
    if (step := _step("range", rules)) is not None:
        base = _step_base("range", {**rules, "min": rules.get("min", "")})
        try:
            steps = ((number - base) / step + Decimal("0.5")).to_integral_value(ROUND_FLOOR)
        except InvalidOperation:
            return _plain(number)
        number = base + steps * step
        if number > high:
            number -= step
        if number < low:
            number += step
        number = number if number <= high else low
    return _plain(number)


def _plain(number: Decimal) -> str:
    number = number.normalize()
    return str(number) if number.adjusted() > _DIGITS else f"{number:f}"


def _date(value: str) -> date:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        raise ValueError("not a date")
    return date.fromisoformat(value)


def _milliseconds(day: date) -> Decimal:
    return Decimal((day - _EPOCH.date()).days * _DAY_MS)


def _time(value: str) -> Decimal | None:
    found = _TIME.fullmatch(value)
    if found is None:
        return None
    hours, minutes, seconds = int(found[1]), int(found[2]), int(found[3] or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        return None
    return Decimal(((hours * 60 + minutes) * 60 + seconds) * 1000 + int((found[4] or "0").ljust(3, "0")))


def _local_time(value: str) -> str:
    """Returns the shortest text of a local date and time."""
    number = to_number("datetime-local", value)
    if number is None:
        return ""
    moment = _EPOCH + timedelta(milliseconds=int(number))
    if moment.microsecond:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}".rstrip("0")
    return moment.strftime("%Y-%m-%dT%H:%M:%S" if moment.second else "%Y-%m-%dT%H:%M")
