"""Ids and aliases as callers may write them. Contract section 1."""

from uuid import UUID

import pytest

from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind, alias_candidates, parse_ref

SOME = "1F3a0000-0000-4000-8000-00000000abcd"


@pytest.mark.parametrize("text", [SOME, SOME.lower(), SOME.upper()])
def test_a_hyphenated_uuid_of_any_case(text: str) -> None:
    assert parse_ref(Kind.PARTICIPANT, text, "participant_id").uuid == UUID(SOME)


@pytest.mark.parametrize(
    ("kind", "text", "alias"),
    [
        (Kind.PARTICIPANT, "t-1f3", "t-1f3"),
        (Kind.PARTICIPANT, "pt-1f3a", "t-1f3a"),
        (Kind.PERSON, "tp-abc", "tp-abc"),
        (Kind.PERSON, "p-abc", "tp-abc"),
        (Kind.STUDY, "s-000", "s-000"),
        (Kind.ASK, "a-abc", "a-abc"),
    ],
)
def test_an_alias_and_its_synonyms(kind: Kind, text: str, alias: str) -> None:
    assert parse_ref(kind, text, "id").alias == alias


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
