"""Ids and aliases as callers may write them. Contract section 1."""

from uuid import UUID

import pytest

from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind, alias_candidates, parse_ref

SOME = "1F3a0000-0000-4000-8000-00000000abcd"


@pytest.mark.parametrize(
    ("kind", "text", "read"),
    [
        (Kind.PARTICIPANT, SOME, (UUID(SOME), None)),
        (Kind.PARTICIPANT, "pt-1f3a", (None, "t-1f3a")),
        (Kind.PERSON, "tp-abc", (None, "tp-abc")),
        (Kind.PERSON, "p-abc", (None, "tp-abc")),
        (Kind.STUDY, "s-000", (None, "s-000")),
        (Kind.ASK, "a-abc", (None, "a-abc")),
    ],
)
def test_a_uuid_of_any_case_an_alias_or_its_synonym_is_read(
    kind: Kind, text: str, read: tuple[UUID | None, str | None]
) -> None:
    assert parse_ref(kind, text, "id") == (kind, *read)


@pytest.mark.parametrize(
    "text",
    [
        *("", "t-", "t-1", "t-12", "t-1F3", "T-1f3", "t-xyz", " t-1f3", "t-1f3\n", "t-1f3 ", "s-1f3"),
        *("tp-1f3", SOME.replace("-", ""), f"{{{SOME}}}", f"urn:uuid:{SOME}", SOME + "0"),
        *("t-" + "a" * 33, "t-\uff11f3"),
    ],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValidationError, match="participant_id"):
        parse_ref(Kind.PARTICIPANT, text, "participant_id")


def test_an_alias_is_the_first_digits() -> None:
    assert list(alias_candidates(Kind.PERSON, [UUID(SOME)], 4)) == ["tp-1f3a"]
