"""Is an answer what the page shows?

Ids stand for each other, times for any time, and what waits may already run.
"""

import re
from typing import Any

from understudy.domain.lifecycle import ACTIVE

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID = re.compile(rf"(?<![\w-])(?:{_UUID}|(?:tp|wh|[siat])-[0-9a-f]{{3,32}})(?![\w-])")
#: An id of zeros is nobody's.
_NOBODY = re.compile(r"[a-z]{0,2}[0-]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_SPECIAL = re.compile(rf"{_ID.pattern}|{_TIME.pattern}|…|\b(?:{'|'.join(ACTIVE)})\b")

#: Never the same twice.
_MEASURED = {"age_seconds", "duration_ms"}
#: What still runs has moved on while we looked.
_MOVING = {"status", "interaction_count"}


class Mismatch(AssertionError):
    """What was answered is not what the page shows."""


class IdBindings:
    """Which real id plays which id of the page."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}

    def put_in(self, text: str) -> str:
        """The page's text with the real ids. AssertionError for an id that no answer has shown."""

        def real(found: re.Match[str]) -> str:
            if _NOBODY.fullmatch(found[0]):
                return found[0]
            assert found[0] in self._real, f"nothing has shown {found[0]} yet"
            return self._real[found[0]]

        return _ID.sub(real, text)

    def compare_text(self, expected: str, actual: str, at: str = "the output") -> None:
        """Raises Unlike; spaces count as one each, empty lines and spaces at line ends do not count."""
        wanted = [" ".join(line.split()) for line in expected.splitlines() if line.strip()]
        given = "".join(" ".join(line.split()) + "\n" for line in actual.splitlines() if line.strip())
        new: set[str] = set()
        lines = ("(?:.*\n)*?" if line == "…" else self._pattern(line, new) + "\n" for line in wanted)
        self._match("".join(lines), given, f"{at} is:\n{actual}")

    def compare(self, expected: Any, actual: Any, at: str = "the answer") -> None:
        """Raises Unlike naming the place."""
        if expected == "…":
            return
        if isinstance(expected, dict) and isinstance(actual, dict):
            self._compare_objects(expected, actual, at)
        elif isinstance(expected, list) and isinstance(actual, list):
            open_end = bool(expected) and expected[-1] == "…"
            shown = expected[:-1] if open_end else expected
            if len(actual) < len(shown) or (len(actual) > len(shown) and not open_end):
                raise Mismatch(f"{at} has {len(actual)} items, not {len(shown)}: {actual}")
            for k, item in enumerate(shown):
                self.compare(item, actual[k], f"{at}[{k}]")
        elif isinstance(expected, str) and isinstance(actual, str):
            self._match(self._pattern(expected, set()), actual, f"{at} is {actual!r}, not {expected!r}")
        elif type(expected) is not type(actual) or expected != actual:
            raise Mismatch(f"{at} is {actual!r}, not {expected!r}")

    def _compare_objects(self, expected: dict[str, Any], actual: dict[str, Any], at: str) -> None:
        shown = {name: value for name, value in expected.items() if name != "…"}
        if set(shown) - set(actual) or (set(actual) - set(shown) and "…" not in expected):
            raise Mismatch(f"{at} has {sorted(actual)}, not {sorted(shown)}")
        moving = {shown.get("status"), actual.get("status")} <= ACTIVE
        for name, value in shown.items():
            if name in _MEASURED or (moving and name in _MOVING):
                continue
            self.compare(value, actual[name], f"{at}.{name}")

    def _pattern(self, text: str, new: set[str]) -> str:
        """A regular expression; ids that nobody plays yet are groups in it, and are put into `new`."""
        parts, end = [], 0
        for found in _SPECIAL.finditer(text):
            parts.append(re.escape(text[end : found.start()]))
            end = found.end()
            if found[0] == "…":
                parts.append(".*?")
            elif found[0] in ACTIVE:
                parts.append(f"(?:{'|'.join(ACTIVE)})")
            elif _TIME.fullmatch(found[0]):
                parts.append(_TIME.pattern)
            else:
                parts.append(self._role(found[0], new))
        return "".join(parts) + re.escape(text[end:])

    def _role(self, id_: str, new: set[str]) -> str:
        if id_ in self._real or _NOBODY.fullmatch(id_):
            return re.escape(self._real.get(id_, id_))
        group = f"id_{id_.replace('-', '_')}"
        if group in new:
            return f"(?P={group})"
        new.add(group)
        kind = _UUID if re.fullmatch(_UUID, id_) else f"{id_.partition('-')[0]}-[0-9a-f]{{3,}}"
        return f"(?P<{group}>{kind})"

    def _match(self, pattern: str, given: str, problem: str) -> None:
        match = re.fullmatch(pattern, given)
        if match is None:
            raise Mismatch(problem)
        for group, real in match.groupdict().items():
            self._real[group.removeprefix("id_").replace("_", "-")] = real
