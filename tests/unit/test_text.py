"""Text that every store can hold."""

from understudy.domain.text import sanitize


def test_what_no_store_can_hold_is_taken_out_everywhere() -> None:
    assert sanitize({"a\x00": ["b\ud800c", ("d",)], "n": 1.5, "none": None}) == {
        "a": ["b?c", ["d"]],
        "n": 1.5,
        "none": None,
    }


def test_everything_else_stays() -> None:
    text = "naïve ☃ 🦉\n\t"
    assert sanitize(text) == text
