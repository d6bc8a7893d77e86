"""Guards the cells of CSV tables: no spreadsheet takes a text for a formula, and no text is changed.

A spreadsheet runs a cell as a formula if it begins with one of `= + - @`, also after blanks, quotes and invisible
characters. An apostrophe in front makes it text. Programs of other locales separate cells by semicolons or tabs and
then ignore our quotes, so that each separator and line break in a text may begin a cell too. The apostrophe also
keeps blanks at the ends of a text, which readers of tables cut off otherwise. Source: OWASP, CSV injection.
"""

import re

_SEPARATORS = r"[;|\t\r\n]"
#: Characters that spreadsheets skip or cut off; the apostrophe is among them, so that a guard can be guarded.
_SKIPPED = r"[\s\x00-\x1f\x7f-\xa0'\"`\u00ad\u2018-\u201f\u200b-\u200f\u2028-\u202f\u2060-\u2069\ufeff]"
_FORMULA = rf"{_SKIPPED}*[=+\-@\uff1d\uff0b\uff0d\uff20]"
_BEGINS_FORMULA = re.compile(_FORMULA)
_MISSING_GUARD = re.compile(rf"(?:^|(?<={_SEPARATORS}))(?={_FORMULA})")
_GUARD = re.compile(rf"(?:^|(?<={_SEPARATORS}))'(?={_FORMULA})")
#: A number has no effect as a formula, and guarded it would be none any more.
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


def guard(text: str) -> str:
    """Returns `text` as a cell that no spreadsheet runs; `unguard` returns `text` again."""
    if _NUMBER.fullmatch(text):
        return text
    guarded = _MISSING_GUARD.sub("'", text)
    return f"'{guarded}" if _is_padded(text) and not _BEGINS_FORMULA.match(text) else guarded


def unguard(cell: str) -> str:
    """Returns the text that `guard` made this cell of. Blanks at the ends of other cells are cut off."""
    if not (cell.startswith("'") and _is_padded(cell[1:])):
        return _GUARD.sub("", cell.strip())
    text = _GUARD.sub("", cell)
    return text if _BEGINS_FORMULA.match(cell) else text[1:]


def _is_padded(text: str) -> bool:
    # Apostrophes in front do not count: a text that looks guarded is guarded once more.
    text = text.lstrip("'")
    return text != text.strip()
