"""Generated people: varied, repeatable, quick."""

from itertools import pairwise

from tests.call_counter import count_calls
from understudy.domain.people import DEFAULT_PANEL_SIZE, MAX_AGE, MAX_NAME_LENGTH, default_panel, generate_people


def test_the_same_seed_makes_the_same_people_and_another_seed_others() -> None:
    assert generate_people(50, 7) == generate_people(50, 7)
    assert generate_people(50, 7) != generate_people(50, 8)
    assert generate_people(50, 7) != generate_people(50, -7)


def test_the_panel_never_changes_between_versions_of_python() -> None:
    first = generate_people(1, 7)[0]
    assert (first.name, first.age, first.country) == ("Ousmane Diop", 84, "SN")


def test_a_short_panel_is_the_beginning_of_a_long_one() -> None:
    assert generate_people(100, 3)[:24] == generate_people(24, 3)
    assert generate_people(0, 3) == []


def test_the_default_panel_is_varied() -> None:
    panel = default_panel()
    assert len(panel) == DEFAULT_PANEL_SIZE == len({person.name for person in panel})
    assert len({person.country for person in panel}) >= 20
    assert len({person.language for person in panel}) >= 15
    ages = sorted(person.age for person in panel)
    assert ages[0] < 25
    assert ages[-1] > 78
    # No gap in which a generation would be missing.
    assert max(later - earlier for earlier, later in pairwise(ages)) <= 8
    assert 1 <= sum("accessibility" in person.traits for person in panel) <= 12


def test_every_trait_is_spread_over_its_range() -> None:
    panel = generate_people(200, 5)
    names = set(panel[0].traits) - {"accessibility"}
    assert {"patience", "curiosity", "thoroughness", "tech_savviness"} <= names
    values = {name: [person.traits[name] for person in panel] for name in names}
    ranges = {name: (min(found), max(found)) for name, found in values.items()}
    assert {name: found for name, found in ranges.items() if not (0 <= found[0] < 0.1 and 0.9 < found[1] <= 1)} == {}


def test_the_effort_of_a_person_does_not_grow_with_the_panel() -> None:
    _, effort_of_few = count_calls(lambda: generate_people(500, 1))
    _, effort = count_calls(lambda: generate_people(5_000, 1))
    assert effort <= 12 * effort_of_few


def test_ten_thousand_people_are_distinct_and_valid() -> None:
    people = generate_people(10_000, 1)
    assert len({person.name for person in people}) == 10_000
    assert all(0 < len(person.name) <= MAX_NAME_LENGTH and person.bio.endswith(".") for person in people)
    assert {person.age for person in people} == set(range(18, 86)) <= set(range(MAX_AGE + 1))
    assert {len(person.country) for person in people} == {len(person.language) for person in people} == {2}
    assert all(person.country.isupper() for person in people)
