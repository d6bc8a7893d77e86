"""Panels over HTTP: filtered, sampled, exported and imported, on both stores."""

from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.http_client import ApiClient
from understudy.store.engine import Store
from understudy.store.schema import Tables

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


@pytest.fixture
def crowded(acme: ApiClient) -> ApiClient:
    """A workspace with the crowd beside four people who have nothing to do with it."""
    assert acme.post("/v1/people", {"people": CROWD}).status_code == 201
    return acme


def names(caller: ApiClient, **where: Any) -> list[str]:
    answer = caller.get("/v1/people", **where)
    assert answer.status_code == 200, answer.text
    ours = {person["name"] for person in CROWD}
    return [item["name"].split()[0] for item in answer.json()["items"] if item["name"] in ours]


def count(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(Tables.person)) or 0


# -- filters -----------------------------------------------------------------------------------------------


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
def test_people_are_found_by_what_they_are(crowded: ApiClient, where: dict[str, Any], found: list[str]) -> None:
    assert names(crowded, **where) == found


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"age_min": "old"}, "whole number"),
        ({"age_min": 131}, "130"),
        ({"age_min": 40, "age_max": 30}, "at most age_max"),
        ({"country": "DE,,AT"}, "1 to 200 characters"),
        ({"country": ",".join("abcdefghijklmnopqrstu")}, "at most 20"),
        ({"trait": "patience<low"}, "plain number"),
        ({"trait": "patience<NaN"}, "plain number"),
        ({"trait": "a b=1"}, "must look like patience<0.3"),
        ({"trait": 'x"=1'}, "must look like patience<0.3"),
        ({"search": " ".join("abcdefghijk")}, "at most 10 words"),
        ({"color": "red"}, "Unknown query parameter 'color'"),
    ],
    ids=str,
)
def test_a_condition_that_is_none_is_told_with_what_would_be_right(
    acme: ApiClient, where: dict[str, Any], told: str
) -> None:
    answer = acme.get("/v1/people", **where)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


def test_a_cursor_goes_with_its_conditions(crowded: ApiClient) -> None:
    crowded.post("/v1/people", {"people": CROWD})
    below = crowded.get("/v1/people", search="Byron", trait="patience<0.5", limit=1).json()
    following = crowded.get("/v1/people", search="Byron", trait="patience<0.5", limit=1, cursor=below["next_cursor"])
    assert following.json()["items"][0]["name"] == "Ada Byron"
    above = crowded.get("/v1/people", search="Byron", trait="patience>0.5", limit=1, cursor=below["next_cursor"])
    assert above.status_code == 422


def test_a_run_takes_only_people_for_whom_it_holds_and_the_same_for_the_same_seed(crowded: ApiClient) -> None:
    crowded.post("/v1/people", {"generate": 60, "seed": 3})
    content = {"environment": "web", "url": "https://shop.example/"}
    study = crowded.post(
        "/v1/studies",
        {
            "name": "Old",
            "modality": "interactive",
            "assignment": {"task": "x"},
            "iteration": {"content": content},
        },
    ).json()

    def run(seed: int, **more: Any) -> list[dict[str, Any]]:
        body = {"sample": 3, "seed": seed, "where": {"age_min": 60, "trait": ["patience>0.5"]}} | more
        answer = crowded.post(f"/v1/studies/{study['id']}/run", body)
        assert answer.status_code == 202, answer.text
        chosen = answer.json()["dispatch"]["participant_ids"]
        people = [crowded.get(f"/v1/participants/{id_}").json()["person_id"] for id_ in chosen]
        return [crowded.get(f"/v1/people/{id_}").json() for id_ in people]

    first = run(1)
    assert all(one["age"] >= 60 and one["traits"]["patience"] > 0.5 for one in first)
    assert run(1) == first
    assert any(run(seed) != first for seed in range(2, 6))
    asked = {"question": "Which?", "variants": ["A"], "sample": 1, "seed": 1}
    assert crowded.post("/v1/asks", asked | {"where": {"country": ["TR"]}}).status_code == 202
    for body, told in (
        ({"sample": 3, "where": {"country": ["Atlantis"]}}, "matches 0 of the workspace's 68 people"),
        ({"person_ids": ["tp-abc"], "where": {"age_min": 3}}, "where requires sample"),
        ({"sample": 1, "where": {"trait": ["<3"]}}, "must look like"),
        ({"sample": 1, "where": {"colour": "red"}}, "where.colour"),
    ):
        refused = crowded.post(f"/v1/studies/{study['id']}/run", body)
        assert refused.status_code == 422, refused.text
        assert told in refused.json()["error"]


# -- there and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_is_exported_can_be_imported_as_it_was(crowded: ApiClient, form: str) -> None:
    where = {"age_max": 90, "search": "e"}
    odd = CROWD[0] | {
        "name": 'Quote "n" Comma, Jr.',
        "traits": {"patience": 1, "note": "0.5", "list": ["a;b", 2], "deep": {"a": [True]}, "no": ""},
        "bio": "Two\nlines; e",
    }
    crowded.post("/v1/people", odd)
    before = crowded.get("/v1/people/export", **where).json()
    answer = crowded.get("/v1/people/export", format=form, **where)
    body = answer.json() if form == "json" else {"csv": answer.text}
    made = crowded.post("/v1/people", body)
    assert made.status_code == 201, made.text
    fields = ("name", "age", "country", "language", "traits", "bio")
    came_back = [{field: one[field] for field in fields} for one in made.json()["items"]]
    for one in before["people"]:
        one["traits"] = {name: value for name, value in one["traits"].items() if value is not None}
    for one in came_back:
        one["traits"] = {name: value for name, value in one["traits"].items() if value is not None}
    assert came_back == before["people"]
    assert {one["name"] for one in came_back} >= {odd["name"], "Élise Roy"}


def test_an_export_has_its_form_and_says_what_is_too_much(acme: ApiClient, store: Store) -> None:
    answer = acme.get("/v1/people/export", format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.startswith("name,age,country,language,bio,accessibility")
    assert acme.get("/v1/people/export", format="xml").status_code == 422
    nobody = acme.get("/v1/people/export", search="nobody-is-called-so").json()
    assert nobody == {"people": []}
    assert acme.post("/v1/people", {"generate": 10_000, "seed": 1}).status_code == 201
    much = acme.get("/v1/people/export")
    assert much.status_code == 422
    assert "at most 10,000 people; 10,004 match" in much.json()["error"]


def table(*rows: str, header: str = HEADER) -> str:
    return "\n".join((header, *rows))


def test_a_table_is_read_as_it_is_meant(acme: ApiClient) -> None:
    made = acme.post(
        "/v1/people",
        {
            "csv": "\ufeff"
            + table(
                'Ada,36,GB,en,"A baker, ""mostly""",no_pointer; high_zoom,0.25,"phone"',
                "",
                'Bea,61,DE,de,"Two\r\nlines",,,',
                'Cem,19,TR,tr,,,much,"""7"""',
            ).replace("\n", "\r\n")
        },
    ).json()["items"]
    assert [one["traits"] for one in made] == [
        {"accessibility": ["no_pointer", "high_zoom"], "patience": 0.25, "device": "phone"},
        {},
        {"patience": "much", "device": "7"},
    ]
    assert made[0]["bio"] == 'A baker, "mostly"'
    csv = "age;name;country;language;trait.patience;trait.size\n36;Ada, B.;GB;en;0,25;1,5 m"
    other = acme.post("/v1/people", {"csv": csv}).json()["items"]
    assert other[0]["name"] == "Ada, B."
    assert other[0]["traits"] == {"patience": 0.25, "size": "1,5 m"}


def test_of_ten_thousand_with_a_wrong_line_in_the_middle_nobody_is_imported(acme: ApiClient, store: Store) -> None:
    rows = [f"Person {number},{18 + number % 60},DE,de,,,0.5,phone" for number in range(10_000)]
    rows[5_000] = "Person 5000,forty,DE,de,,,0.5,phone"
    before = count(store)
    answer = acme.post("/v1/people", {"csv": table(*rows)})
    assert answer.status_code == 422
    told = answer.json()["error"]
    # The first line is that of the columns.
    assert told == ("line 5002: age: Input should be a valid integer. No people were imported."), told
    assert count(store) == before
    rows[5_000] = "Person 5000,40,DE,de,,,0.5,phone"
    assert acme.post("/v1/people", {"csv": table(*rows)}).status_code == 201
    assert count(store) == before + 10_000
    answer = acme.post("/v1/people", {"csv": table(*rows, rows[0])})
    assert "line 10002: one import takes at most 10,000" in answer.json()["error"]
    assert count(store) == before + 10_000


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_whatever_is_wrong_with_a_table_is_told_by_line(acme: ApiClient, store: Store) -> None:
    good = "Ada,36,GB,en,,,,"
    before = count(store)
    for csv, told in (
        ("", "at least 1 character"),
        ("\n", "line 1, the column names: name, age, country, language missing"),
        ("name,age,country\nAda,36,GB", "language missing"),
        (table(good, header=HEADER.replace("bio", "boi")), "'boi' is unknown; use name, age"),
        (table(good, header=HEADER.replace("bio", "age")), "'age' is given twice"),
        (table(good, header=HEADER.replace("trait.device", "trait.")), "'trait.' is unknown"),
        (HEADER, "no people"),
        (table(good, "Bea,61,DE"), "line 3: it has 3 cells, but the header has 8 columns"),
        (table(good, '"Bea,61,DE,de,,,,', good), "line 3: a quote is opened and never closed"),
        (table(good, 'B"ea"x,61,DE,de,,,,', '"Be"a,61,DE,de,,,,'), "line 4: ',' expected after"),
        (table('Ada,36,GB,en,"two\nlines",,,', "Bea,-1,DE,de,,,,"), "line 4: age"),
        (table("Bea,131,DE,de,,,,"), "line 2: age: Input should be less than or equal to 130"),
        (table("Bea,6 1,DE,de,,,,"), "line 2: age"),
        (table(",61,DE,de,,,,"), "line 2: name"),
        (table("Bea,61,DE,de,,,1e999,"), "line 2: trait.patience: the number is too large"),
        (table(f"Bea,61,DE,de,,,{9 * 10**30},"), "line 2: trait.patience: the number is too large"),
        (table('Bea,61,DE,de,,,"""\\ud800""",'), "line 2: trait.patience: the text has a NUL or"),
        (table(f'Bea,61,DE,de,,,"{"[" * 9}{"]" * 9}",'), "more than 8 levels deep"),
        (table(*["Bea,x,DE,de,,,,"] * 8), "line 6: age: Input should be a valid integer; and 3 more lines"),
    ):
        answer = acme.post("/v1/people", {"csv": csv})
        assert answer.status_code == 422, csv[:200]
        assert told in answer.json()["error"]
    assert count(store) == before


# -- the panel that comes along ----------------------------------------------------------------------------


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_panel_of_fifty_varied_people_comes_along(acme: ApiClient) -> None:
    made = acme.post("/v1/people", {"panel": "varied-50"})
    assert made.status_code == 201, made.text
    people = made.json()["items"]
    assert len(people) == 50 == len({one["name"] for one in people})
    assert len({one["country"] for one in people}) >= 40
    assert len({one["language"] for one in people}) >= 25
    ages = sorted(one["age"] for one in people)
    assert ages[0] < 20
    assert ages[-1] > 80
    assert max(later - earlier for earlier, later in pairwise(ages)) <= 5
    for trait in ("patience", "curiosity", "thoroughness", "tech_savviness", "caution", "frugality"):
        leanings = [one["traits"][trait] for one in people]
        assert sum(value < 0.25 for value in leanings) >= 4, trait
        assert sum(value > 0.75 for value in leanings) >= 4, trait
    needs = [need for one in people for need in one["traits"].get("accessibility", ())]
    for need in ("small_viewport", "no_pointer", "high_zoom", "screen_reader", "dyslexia"):
        assert needs.count(need) >= 2, need
    assert "varied-50" in acme.post("/v1/people", {"panel": "varied-51"}).json()["error"]
