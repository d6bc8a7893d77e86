"""Slugs of documentation pages, and suggestions for wrong ones."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from understudy.domain.errors import ValidationError

MAX_SLUG_LENGTH = 200

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*")
_WORD = re.compile(r"[a-z0-9]{3,}")
#: Letters shared by two forms of one word: "extend" and "extending".
_STEM_CHARS = 5
_MAX_SUGGESTIONS = 3
_MIN_SIMILARITY = 0.6


def check_slug(slug: str, known: Iterable[str] = ()) -> None:
    """Raises ValidationError, with similar pages of `known`, if `slug` cannot be a page's slug."""
    if len(slug) > MAX_SLUG_LENGTH or not _SLUG.fullmatch(slug):
        raise ValidationError(
            "slug must be a page's slug like concepts/overview: "
            f"lower-case letters, digits, - and /, at most {MAX_SLUG_LENGTH} characters.",
            suggestions=did_you_mean(slug, known),
        )


def did_you_mean(slug: str, known: Iterable[str]) -> tuple[str, ...]:
    """Returns a suggestion for each similar page, the most similar first; and how to list all pages."""
    wanted = slug[:MAX_SLUG_LENGTH].lower()
    similarity = {page: _similarity(wanted, page) for page in known}
    similar = [
        page for page in sorted(similarity, key=lambda page: -similarity[page]) if similarity[page] >= _MIN_SIMILARITY
    ]
    return (
        *(f"Did you mean {page}?" for page in similar[:_MAX_SUGGESTIONS]),
        "docs_get without a slug (GET /v1/docs, understudy docs) lists all pages.",
    )


def _similarity(wanted: str, page: str) -> float:
    """Returns 0 to 1 for letters in common, plus 1 for each word in common."""
    # Ignores sections: all pages of one have its name in common.
    section, _, name = page.rpartition("/")
    letters = SequenceMatcher(None, wanted.rpartition("/")[2], name).ratio()
    words = {word[:_STEM_CHARS] for word in _WORD.findall(wanted)} - {section[:_STEM_CHARS]}
    return letters + sum(word in name for word in words)
