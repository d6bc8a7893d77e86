"""The limit of open files that a worker needs."""

import pytest

from understudy.domain.errors import ValidationError
from understudy.domain.open_files import required_open_files, select_soft_limit


@pytest.mark.parametrize(
    ("soft", "hard", "selected"),
    [
        (1024, 1024, 1024),
        (256, 1024, 400),
        (256, 400, 400),
        (256, None, 400),
        (4096, None, 4096),
        (None, None, None),
    ],
)
def test_soft_limit_is_raised_to_what_a_worker_needs_and_never_lowered(
    soft: int | None, hard: int | None, selected: int | None
) -> None:
    assert required_open_files(100) == 400
    assert select_soft_limit(100, soft, hard) == selected


def test_hard_limit_below_the_need_is_refused_with_the_number_and_both_remedies() -> None:
    with pytest.raises(ValidationError, match=r"300 .* 1000 open files.* 256.*ulimit -n 1000.*--concurrency"):
        select_soft_limit(300, 256, 256)
