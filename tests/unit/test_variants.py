"""Variants: the segments in which they are read, and the answers to them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.domain.variants import (
    MAX_VARIANT_LENGTH,
    MAX_VARIANTS,
    SEGMENT_LENGTH,
    answer_error,
    interactions_to_answer,
    segments,
)

PARTS = ["\n\n", "\n", " ", ". ", "a" * 700, "b" * 300 + ". ", "word ", "Ende!", "。", "\u2028"]
TEXTS = st.lists(st.sampled_from(PARTS) | st.text(max_size=80), max_size=60).map("".join)


@given(TEXTS)
def test_segments_hold_all_text_and_are_small_and_few(text: str) -> None:
    pieces = segments(text)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= SEGMENT_LENGTH for piece in pieces)
    assert len(pieces) == 1 or all(piece.strip() for piece in pieces)
    # Two neighbours and what is between them never fit into one.
    assert len(pieces) <= 2 * len(text) / (SEGMENT_LENGTH - 2) + 1


def test_texts_are_cut_where_people_pause() -> None:
    first, second = "One. " * 100, "Two. " * 100
    assert segments(f"{first}\n \n\n{second}") == [first.strip(), second.strip()]
    assert segments("A title\n\nAnd a line.") == ["A title\n\nAnd a line."]
    long = segments("This sentence has some words in it. " * 30)
    assert all(piece.endswith(".") for piece in long)


def test_the_largest_ask_fits_the_largest_cap() -> None:
    worst = ("x" * 2 + "\n\n" + "y" * 598 + "\n\n") * 40
    assert interactions_to_answer([worst[:MAX_VARIANT_LENGTH]] * MAX_VARIANTS) <= 1_000


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"pick": "B", "ratings": {"A": 1, "B": 5}, "comment": "x"}, ""),
        ({"pick": None, "ratings": {}, "comment": ""}, ""),
        (None, "pick, ratings and comment"),
        ("B", "pick, ratings and comment"),
        ({"pick": "B"}, "pick, ratings and comment"),
        ({"pick": "C", "ratings": {}, "comment": ""}, "one of A, B"),
        ({"pick": ["B"], "ratings": {}, "comment": ""}, "one of A, B"),
        ({"pick": "B", "ratings": {"C": 1}, "comment": ""}, "labels as keys"),
        ({"pick": "B", "ratings": [5], "comment": ""}, "labels as keys"),
        ({"pick": "B", "ratings": {"A": 6}, "comment": ""}, "from 1 to 5"),
        ({"pick": "B", "ratings": {"A": True}, "comment": ""}, "from 1 to 5"),
        ({"pick": "B", "ratings": {"A": 4.0}, "comment": ""}, "from 1 to 5"),
        ({"pick": "B", "ratings": {}, "comment": "x" * 2_001}, "2,000 characters"),
        ({"pick": "B", "ratings": {}, "comment": None}, "2,000 characters"),
    ],
)
def test_a_malformed_answer_is_an_error(value: Any, says: str) -> None:
    problem = answer_error(value, ["A", "B"])
    assert says in problem
    assert bool(problem) == bool(says)
