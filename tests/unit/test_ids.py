"""Ids and aliases that callers may not write. Contract section 1."""

import pytest

from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind, parse_ref

SOME = "1F3a0000-0000-4000-8000-00000000abcd"


@pytest.mark.parametrize(
    "text",
    [
        *("", "t-", "t-1", "t-12", "t-1F3", "T-1f3", "t-xyz", " t-1f3", "t-1f3\n", "t-1f3 ", "s-1f3"),
        *("tp-1f3", SOME.replace("-", ""), f"{{{SOME}}}", f"urn:uuid:{SOME}", SOME + "0"),
        *("t-" + "a" * 33, "t-\uff11f3"),
    ],
)
def test_a_malformed_id_is_refused_by_the_name_of_its_parameter(text: str) -> None:
    with pytest.raises(ValidationError, match="participant_id"):
        parse_ref(Kind.PARTICIPANT, text, "participant_id")
