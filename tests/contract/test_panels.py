"""Panels over HTTP: filtered, sampled, exported and imported, on both stores."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from tests.contract.manual_worker import counts
from tests.contract.paging import pages
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.parameters import one_store
from understudy.store.engine import Store

CROWD: list[dict[str, Any]] = [
    {
        "name": "Ada Byron",
        "age": 36,
        "country": "GB",
        "language": "en",
        "traits": {"patience": 0.2, "accessibility": ["no_pointer", "high_zoom"], "member": True},
        "bio": "Baker, 100% online.",
    },
    {
        "name": "Bea Muster",
        "age": 61,
        "country": "de",
        "language": "de",
        "traits": {"patience": 0.8, "device": "phone", "odd": {"patience": 1}},
        "bio": "Nurse_in Köln",
    },
    {"name": "Cem Kaya", "age": 19, "country": "TR", "language": "tr", "traits": {"patience": "much"}},
    {"name": "Élise Roy", "age": 84, "country": "FR", "language": "fr", "traits": {"patience": 3, "x": None}},
]
HEADER = "name,age,country,language,bio,accessibility,trait.patience,trait.device"
GOOD = "Ada,36,GB,en,,,,"


@pytest.fixture
def crowded(acme: ApiClient) -> ApiClient:
    """A workspace with the crowd and its usual four people."""
    assert acme.post("/v1/people", {"people": CROWD}).status_code == 201
    return acme


def names(caller: ApiClient, **where: Any) -> list[str]:
    answer = caller.get("/v1/people", **where)
    assert answer.status_code == 200, answer.text
    ours = {person["name"] for person in CROWD}
    return [item["name"].split()[0] for item in answer.json()["items"] if item["name"] in ours]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"age_min": 36, "age_max": 61}, ["Ada", "Bea"]),
        ({"age_min": 84}, ["Élise"]),
        ({"country": "DE,gb"}, ["Ada", "Bea"]),
        ({"language": "TR"}, ["Cem"]),
        ({"trait": "patience<0.8"}, ["Ada"]),
        ({"trait": "patience <= 0.8"}, ["Ada", "Bea"]),
        ({"trait": "patience>0.8"}, ["Élise"]),
        ({"trait": "patience>=0.8,device=phone"}, ["Bea"]),
        ({"trait": "patience=3.0"}, ["Élise"]),
        ({"trait": "patience=much"}, ["Cem"]),
        ({"trait": "accessibility=high_zoom"}, ["Ada"]),
        ({"trait": "accessibility=high"}, []),
        ({"trait": "member=true"}, ["Ada"]),
        ({"trait": "odd"}, ["Bea"]),
        ({"trait": "odd=1"}, []),
        ({"trait": "x"}, []),
        ({"search": "BAKER ada"}, ["Ada"]),
        ({"search": "100%"}, ["Ada"]),
        ({"search": "e_i"}, ["Bea"]),
        ({"search": "Élise"}, ["Élise"]),
        ({"search": "ada", "age_max": 30}, []),
    ],
    ids=str,
)
def test_people_are_filtered_by_age_country_language_traits_and_words(
    crowded: ApiClient, where: dict[str, Any], found: list[str]
) -> None:
    assert names(crowded, **where) == found


@one_store
@pytest.mark.parametrize(
    ("where", "error"),
    [
        ({"age_min": "old"}, "whole number"),
        ({"age_min": 131}, "130"),
        ({"age_min": 40, "age_max": 30}, "at most age_max"),
        ({"country": "DE,,AT"}, "at least 1 character"),
        ({"country": ",".join("abcdefghijklmnopqrstu")}, "at most 20"),
        ({"trait": "patience<low"}, "plain number"),
        ({"trait": "patience<NaN"}, "plain number"),
        ({"trait": "a b=1"}, "must look like patience<0.3"),
        ({"trait": 'x"=1'}, "must look like patience<0.3"),
        ({"search": " ".join("abcdefghijk")}, "at most 10 words"),
    ],
    ids=str,
)
def test_a_malformed_filter_is_refused(acme: ApiClient, where: dict[str, Any], error: str) -> None:
    answer = acme.get("/v1/people", **where)
    assert answer.status_code == 422
    assert error in answer.json()["error"]


def test_a_cursor_belongs_to_its_filter(crowded: ApiClient) -> None:
    crowded.post("/v1/people", {"people": CROWD})
    first, more = pages(crowded, "/v1/people", search="Byron", trait="patience<0.5", limit=1)
    assert [one["name"] for one in (*first, *more)] == ["Ada Byron"] * 2
    cursor = crowded.get("/v1/people", search="Byron", trait="patience<0.5", limit=1).json()["next_cursor"]
    assert crowded.get("/v1/people", search="Byron", trait="patience>0.5", limit=1, cursor=cursor).status_code == 422


def test_a_run_samples_only_people_that_match_and_the_same_for_the_same_seed(store: Store, crowded: ApiClient) -> None:
    crowded.post("/v1/people", {"generate": 60, "seed": 3})
    study, _ = make_study(store, crowded.workspace_id)

    def run(seed: int) -> list[dict[str, Any]]:
        body = {"sample": 3, "seed": seed, "where": {"age_min": 60, "trait": ["patience>0.5"]}}
        answer = crowded.post(f"/v1/studies/{study}/run", body)
        assert answer.status_code == 202, answer.text
        chosen = answer.json()["dispatch"]["participant_ids"]
        people = [crowded.get(f"/v1/participants/{id_}").json()["person_id"] for id_ in chosen]
        return [crowded.get(f"/v1/people/{id_}").json() for id_ in people]

    first = run(1)
    assert [one for one in first if one["age"] < 60 or one["traits"]["patience"] <= 0.5] == []
    assert run(1) == first
    assert any(run(seed) != first for seed in range(2, 6))
    asked = {"question": "Which?", "variants": ["A"], "sample": 1, "where": {"country": ["TR"]}}
    assert crowded.post("/v1/asks", asked).status_code == 202


@one_store
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"sample": 3, "where": {"country": ["Atlantis"]}}, "matches 0 of the workspace's 4 people"),
        ({"person_ids": ["tp-abc"], "where": {"age_min": 3}}, "where requires sample"),
        ({"sample": 1, "where": {"trait": ["<3"]}}, "must look like"),
        ({"sample": 1, "where": {"colour": "red"}}, "where.colour"),
    ],
    ids=str,
)
def test_a_run_with_an_impossible_filter_is_refused(
    store: Store, acme: ApiClient, body: dict[str, Any], error: str
) -> None:
    study, _ = make_study(store, acme.workspace_id)
    answer = acme.post(f"/v1/studies/{study}/run", body)
    assert answer.status_code == 422
    assert error in answer.json()["error"]


@pytest.mark.parametrize("form", ["json", "csv"])
def test_exported_people_can_be_imported_unchanged(crowded: ApiClient, form: str) -> None:
    where = {"age_max": 90, "search": "e"}
    odd = CROWD[0] | {
        "name": 'Quote "n" Comma, Jr.',
        "traits": {"patience": 1, "note": "0.5", "list": ["a;b", 2], "deep": {"a": [True]}, "no": "", "none": None},
        "bio": "Two\nlines; e",
    }
    risky = odd | {
        "name": "=cmd|' /C calc'!A0",
        "country": "'=GB",
        "language": " en ",
        "bio": "\t@SUM(1);-2+3\r\n- e",
        "traits": {"=trait": "+1+1", " padded ": "-1", "many": 12345678901234567, "-0.5": -0.5},
    }
    assert crowded.post("/v1/people", {"people": [odd, risky]}).status_code == 201
    exported = crowded.get("/v1/people/export", **where).json()["people"]
    answer = crowded.get("/v1/people/export", format=form, **where)
    made = crowded.post("/v1/people", answer.json() if form == "json" else {"csv": answer.text})
    assert made.status_code == 201, made.text
    imported = [{field: one[field] for field in exported[0]} for one in made.json()["items"]]
    assert imported == exported
    assert [one for one in exported if one["name"] == risky["name"]] == [risky]
    assert {one["name"] for one in imported} >= {odd["name"], "Élise Roy"}


@one_store
def test_an_export_has_its_format_and_names_its_bound(acme: ApiClient) -> None:
    answer = acme.get("/v1/people/export", format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.startswith("name,age,country,language,bio,accessibility")
    assert acme.get("/v1/people/export", format="xml").status_code == 422
    assert acme.get("/v1/people/export", search="nobody-is-called-so").json() == {"people": []}
    assert acme.post("/v1/people", {"generate": 10_000, "seed": 1}).status_code == 201
    too_many = acme.get("/v1/people/export")
    assert too_many.status_code == 422
    assert "at most 10,000 people; 10,004 match" in too_many.json()["error"]


def table(*rows: str, header: str = HEADER) -> str:
    return "\n".join((header, *rows))


@one_store
def test_a_csv_table_is_parsed_into_people(acme: ApiClient) -> None:
    csv = "\ufeff" + table(
        'Ada,36,GB,en,"A baker, ""mostly""",no_pointer; high_zoom,0.25,"phone"',
        "",
        'Bea,61,DE,de,"Two\r\nlines",,,',
        'Cem,19,TR,tr,,,much,"""7"""',
    ).replace("\n", "\r\n")
    made = acme.post("/v1/people", {"csv": csv}).json()["items"]
    assert [one["traits"] for one in made] == [
        {"accessibility": ["no_pointer", "high_zoom"], "patience": 0.25, "device": "phone"},
        {},
        {"patience": "much", "device": "7"},
    ]
    assert made[0]["bio"] == 'A baker, "mostly"'
    csv = "age;name;country;language;trait.patience;trait.size\n36;Ada, B.;GB;en;0,25;1,5 m"
    (other,) = acme.post("/v1/people", {"csv": csv}).json()["items"]
    assert (other["name"], other["traits"]) == ("Ada, B.", {"patience": 0.25, "size": "1,5 m"})


def test_an_import_of_10000_people_is_all_or_nothing(acme: ApiClient, store: Store) -> None:
    rows = [f"Person {number},{18 + number % 60},DE,de,,,0.5,phone" for number in range(10_000)]
    wrong = [*rows[:5_000], "Person 5000,forty,DE,de,,,0.5,phone", *rows[5_001:]]

    def refusal(rows: list[str]) -> str:
        answer = acme.post("/v1/people", {"csv": table(*rows)})
        assert answer.status_code == 422
        return str(answer.json()["error"])

    # Line 1 has the names of the columns.
    assert refusal(wrong) == "line 5002: age: Input should be a valid integer. No people were imported."
    assert "line 10002: one import takes at most 10,000" in refusal([*rows, rows[0]])
    assert counts(store)["person"] == 4
    assert acme.post("/v1/people", {"csv": table(*rows)}).status_code == 201
    assert counts(store)["person"] == 10_004


@one_store
@pytest.mark.parametrize(
    ("csv", "error"),
    [
        ("", "at least 1 character"),
        ("\n", "line 1, the column names: name, age, country, language missing"),
        ("name,age,country\nAda,36,GB", "language missing"),
        (table(GOOD, header=HEADER.replace("bio", "boi")), "'boi' is unknown; use name, age"),
        (table(GOOD, header=HEADER.replace("bio", "age")), "'age' is given twice"),
        (table(GOOD, header=HEADER.replace("trait.device", "trait.")), "'trait.' is unknown"),
        (HEADER, "no people"),
        (table(GOOD, "Bea,61,DE"), "line 3: it has 3 cells, but the header has 8 columns"),
        (table(GOOD, '"Bea,61,DE,de,,,,', GOOD), "line 3: a quote is opened and never closed"),
        (table(GOOD, 'B"ea"x,61,DE,de,,,,', '"Be"a,61,DE,de,,,,'), "line 4: ',' expected after"),
        (table('Ada,36,GB,en,"two\nlines",,,', "Bea,-1,DE,de,,,,"), "line 4: age"),
        (table("Bea,131,DE,de,,,,"), "line 2: age: Input should be less than or equal to 130"),
        (table("Bea,6 1,DE,de,,,,"), "line 2: age"),
        (table(",61,DE,de,,,,"), "line 2: name"),
        (table("Bea,61,DE,de,,,1e999,"), "line 2: trait.patience: the number is too large"),
        (table(f"Bea,61,DE,de,,,[{9 * 10**30}],"), "line 2: trait.patience: the number is too large"),
        (table('Bea,61,DE,de,,,"""\\ud800""",'), "line 2: trait.patience: the text has a NUL or"),
        (table(f'Bea,61,DE,de,,,"{"[" * 65}{"]" * 65}",'), "more than 64 levels deep"),
        (table(*["Bea,x,DE,de,,,,"] * 8), "line 6: age: Input should be a valid integer; and 3 more lines"),
    ],
    ids=lambda value: value[-30:],
)
def test_an_error_in_a_table_is_reported_by_line(acme: ApiClient, store: Store, csv: str, error: str) -> None:
    answer = acme.post("/v1/people", {"csv": csv})
    assert answer.status_code == 422
    assert error in answer.json()["error"]
    assert counts(store)["person"] == 4


@one_store
def test_the_built_in_panel_has_fifty_varied_people(acme: ApiClient) -> None:
    made = acme.post("/v1/people", {"panel": "varied-50"})
    assert made.status_code == 201, made.text
    people = made.json()["items"]
    assert len(people) == 50 == len({one["name"] for one in people})
    assert len({one["country"] for one in people}) >= 40
    assert len({one["language"] for one in people}) >= 25
    ages = sorted(one["age"] for one in people)
    assert (ages[0] < 20, ages[-1] > 80) == (True, True)
    assert max(later - earlier for earlier, later in pairwise(ages)) <= 5
    traits = ("patience", "curiosity", "thoroughness", "tech_savviness", "caution", "frugality")
    low = {trait: sum(one["traits"][trait] < 0.25 for one in people) for trait in traits}
    high = {trait: sum(one["traits"][trait] > 0.75 for one in people) for trait in traits}
    assert min(*low.values(), *high.values()) >= 4, (low, high)
    needs = Counter(need for one in people for need in one["traits"].get("accessibility", ()))
    assert {name for name, count in needs.items() if count >= 2} >= {
        *("small_viewport", "no_pointer", "high_zoom", "screen_reader", "dyslexia")
    }
    assert "varied-50" in acme.post("/v1/people", {"panel": "varied-51"}).json()["error"]
