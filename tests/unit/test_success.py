"""When an assignment counts as done. Contract section 2."""

import pytest

from understudy.domain.simulation import Observation, Success, succeeded

SEEN = Observation(url="https://shop.example/order/7", title="Done", text="Thank You for your order")


@pytest.mark.parametrize(
    ("success", "holds"),
    [
        (None, False),
        (Success(), False),
        (Success(url_contains="/ORDER/"), False),
        (Success(text_contains="thank you"), True),
        (Success(url_contains="/order/", text_contains="thank you"), True),
        (Success(url_contains="/cart", text_contains="thank you"), False),
        (Success(url_contains="/order/", text_contains="sorry"), False),
    ],
)
def test_all_conditions_given_must_hold(success: Success | None, holds: bool) -> None:
    assert succeeded(success, SEEN) is holds
