"""Variants: texts of an ask, their labels, and the segments in which people read them."""

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from understudy.domain.errors import ValidationError

MAX_VARIANTS = 10
MAX_VARIANT_LENGTH = 20_000
#: Maximum characters of a segment: read at a glance, and shown in one interaction.
SEGMENT_LENGTH = 600
#: Maximum characters of an answer's comment.
MAX_COMMENT_LENGTH = 2_000
RATINGS = (1, 2, 3, 4, 5)

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[\u3002\uff01\uff1f])")


def labels(variants: Sequence[object]) -> list[str]:
    """Returns A, B, C… in the order of the variants."""
    return list(ascii_uppercase[: len(variants)])


def check_variants(variants: Any, name: str) -> None:
    """Raises ValidationError with `name` unless these are valid variants."""
    if not isinstance(variants, list) or not 1 <= len(variants) <= MAX_VARIANTS:
        raise ValidationError(f"{name} must be a list of 1 to {MAX_VARIANTS} texts.")
    for label, text in zip(labels(variants), variants, strict=True):
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_VARIANT_LENGTH:
            raise ValidationError(
                f"{name}: variant {label} must be a text of 1 to {MAX_VARIANT_LENGTH:,} characters, not all blank."
            )


def segments(text: str) -> list[str]:
    """Splits `text` into segments to read: at least one, none longer than SEGMENT_LENGTH.

    Splits at blank lines, in long paragraphs after sentences, in long sentences between words. Joins short
    ones with the next. Two neighbours never fit into one segment, so there are few.
    """
    pieces: list[str] = []
    for paragraph in _PARAGRAPH.split(text.strip()):
        between = "\n\n"
        for part in _parts(paragraph.strip()):
            if pieces and len(pieces[-1]) + len(between) + len(part) <= SEGMENT_LENGTH:
                pieces[-1] += between + part
            else:
                pieces.append(part)
            between = " "
    return pieces or [""]


def interactions_to_answer(variants: Sequence[str]) -> int:
    """Returns the number of interactions to read all variants and to answer."""
    return sum(len(segments(text)) for text in variants) + 1


def _parts(paragraph: str) -> list[str]:
    if len(paragraph) <= SEGMENT_LENGTH:
        return [paragraph]
    return [piece for sentence in _SENTENCE.split(paragraph) for piece in _split_between_words(sentence)]


def _split_between_words(text: str) -> list[str]:
    pieces = []
    while len(text) > SEGMENT_LENGTH:
        end = max(text.rfind(" ", 0, SEGMENT_LENGTH), text.rfind("\n", 0, SEGMENT_LENGTH))
        end = end if end > SEGMENT_LENGTH // 2 else SEGMENT_LENGTH
        pieces.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*pieces, text] if text else pieces


def answer_error(value: Any, given_labels: Sequence[str]) -> str:
    """Returns what is wrong with an answer to these variants, and what to do; empty if it is valid.

    An answer is `{"pick": "A" or null, "ratings": {"A": 4, …}, "comment": "…"}`; null picks no variant.
    """
    if not isinstance(value, dict) or set(value) != {"pick", "ratings", "comment"}:
        return "An answer must have exactly pick, ratings and comment."
    pick, ratings, comment = value["pick"], value["ratings"], value["comment"]
    known = ", ".join(given_labels)
    if pick is not None and pick not in given_labels:
        return f"pick must be one of {known}, or null for none of them."
    if not isinstance(ratings, dict) or not set(ratings) <= set(given_labels):
        return f"ratings must have labels as keys: {known}."
    if not all(type(rating) is int and rating in RATINGS for rating in ratings.values()):
        return f"A rating must be a whole number from {RATINGS[0]} to {RATINGS[-1]}."
    if not isinstance(comment, str) or len(comment) > MAX_COMMENT_LENGTH:
        return f"comment must be a text of at most {MAX_COMMENT_LENGTH:,} characters."
    return ""
