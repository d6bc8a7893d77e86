"""Text that every store can hold."""

from understudy.domain.text import sanitize


def test_only_what_no_store_can_hold_is_replaced() -> None:
    given = {"a\x00": ["b\ud800c", ("d",)], "n": 1.5, "none": None, "text": "naïve ☃ 🦉\n\t"}
    assert sanitize(given) == {"a": ["b?c", ["d"]], "n": 1.5, "none": None, "text": "naïve ☃ 🦉\n\t"}
