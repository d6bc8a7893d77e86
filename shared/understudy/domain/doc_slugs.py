"""What names a page of the documentation, and which page somebody meant."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from understudy.domain.errors import ValidationError

MAX_SLUG_LENGTH = 200

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*")
_WORD = re.compile(r"[a-z0-9]{3,}")
#: Letters that two forms of one word share: "extend" and "extending".
_STEM_CHARS = 5
_MAX_SUGGESTIONS = 3
_MIN_SIMILARITY = 0.6


def check_slug(slug: str, known: Iterable[str] = ()) -> None:
    """Raises ValidationError, naming pages of `known` that come near, for what can't be a page's slug."""
    if len(slug) > MAX_SLUG_LENGTH or not _SLUG.fullmatch(slug):
        raise ValidationError(
            "slug must be a page's slug like concepts/overview: "
            f"small letters, digits, - and /, at most {MAX_SLUG_LENGTH} characters.",
            suggestions=did_you_mean(slug, known),
        )


def did_you_mean(slug: str, known: Iterable[str]) -> tuple[str, ...]:
    """A suggestion for each page that comes near, the nearest first; and where all of them are listed."""
    wanted = slug[:MAX_SLUG_LENGTH].lower()
    likeness = {page: _similarity(wanted, page) for page in known}
    near = [
        page
        for page in sorted(likeness, key=lambda page: -likeness[page])
        if likeness[page] >= _MIN_SIMILARITY
    ]
    return (
        *(f"Did you mean {page}?" for page in near[:_MAX_SUGGESTIONS]),
        "docs_get without a slug (GET /v1/docs, understudy docs) lists all pages.",
    )


def _similarity(wanted: str, page: str) -> float:
    """From 0 to 1 for letters in common, and 1 for each word in common."""
    # Sections are left out: every page of one has its name in common with the others.
    section, _, name = page.rpartition("/")
    letters = SequenceMatcher(None, wanted.rpartition("/")[2], name).ratio()
    words = {word[:_STEM_CHARS] for word in _WORD.findall(wanted)} - {section[:_STEM_CHARS]}
    return letters + sum(word in name for word in words)
