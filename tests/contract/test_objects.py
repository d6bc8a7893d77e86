"""Studies, iterations, people and participants over HTTP; their aliases and their lists. Contract 1 and 6."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest

from tests.contract.manual_worker import counts, participant, run_steps, run_to_end
from tests.contract.parity_table import ADA, LAMPS, WEB
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.parameters import one_store
from understudy.domain.lifecycle import Status
from understudy.service.studies import label
from understudy.store.engine import Store

CHAT = {"environment": "chat", "url": "https://bot.example/", "protocol": "openai"}
STUDY = {"name": "Shop", "modality": "interactive", "assignment": {"task": "Buy a lamp"}}


def create(caller: ApiClient, path: str, body: Any) -> dict[str, Any]:
    """The object of a 201."""
    answer = caller.post(path, body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def pages(caller: ApiClient, path: str, **params: Any) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list, one after another."""
    cursor: dict[str, str] = {}
    while True:
        page = caller.get(path, **params, **cursor).json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


# -- studies and iterations --------------------------------------------------------------------------------


def test_a_study_reads_as_it_was_created(acme: ApiClient) -> None:
    assignment = {"task": "Buy a lamp", "success": {"url_contains": "/thanks", "text_contains": "Thank you"}}
    questions = ["Was it easy?", "Würden Sie wiederkommen?"]
    made = create(acme, "/v1/studies", STUDY | {"assignment": assignment, "questions": questions})
    assert set(made) == {
        *("id", "alias", "name", "modality", "status", "assignment", "questions", "created_at", "iterations"),
        *("max_running", "paused_at"),
    }
    given = {"name": "Shop", "modality": "interactive", "assignment": assignment, "questions": questions}
    assert {name: made[name] for name in given} == given
    assert made["iterations"] == []
    assert made["alias"] == f"s-{made['id'][:3]}"
    assert acme.get(f"/v1/studies/{made['id']}", view="full").json() == made
    (listed,) = acme.get("/v1/studies").json()["items"]
    assert listed == {name: value for name, value in made.items() if name != "iterations"}


def test_a_study_is_created_with_its_first_iteration(acme: ApiClient) -> None:
    made = create(acme, "/v1/studies", STUDY | {"iteration": {"content": WEB}})
    (iteration,) = made["iterations"]
    assert {name: value for name, value in iteration.items() if name not in {"id", "alias", "created_at"}} == {
        "study_id": made["id"],
        "label": "A",
        "content": WEB,
        "max_interactions": None,
        "mind": "heuristic",
        "step_timeout": 60,
        "run_timeout": 3600,
    }


def test_content_with_user_and_password_is_refused_and_not_repeated(acme: ApiClient) -> None:
    for study, content in ((STUDY, WEB), (STUDY | {"modality": "chat"}, CHAT)):
        body = study | {"iteration": {"content": content | {"url": "https://ada:s3cret@shop.example/"}}}
        answer = acme.post("/v1/studies", body)
        assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error")
        assert "without a name and password in it" in answer.json()["error"]
        assert "s3cret" not in answer.text
        assert "ada" not in answer.text


def test_user_and_password_of_an_older_iteration_are_not_shown(store: Store, acme: ApiClient) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"url": "https://ada:s3cret@shop.example/"})
    (iteration,) = acme.get(f"/v1/studies/{study}", view="full").json()["iterations"]
    assert iteration["content"]["url"] == "https://shop.example/"


def test_iterations_are_labelled_in_order_also_when_added_at_once(store: Store, acme: ApiClient) -> None:
    study = create(acme, "/v1/studies", STUDY)["id"]
    path = f"/v1/studies/{study}/iterations"
    body = {"content": WEB, "max_interactions": 7, "step_timeout": 5, "run_timeout": 0.5}
    first = create(acme, path, body)
    assert (first["label"], first["max_interactions"], first["run_timeout"]) == ("A", 7, 0.5)
    with ThreadPoolExecutor(4) as pool:
        labels = list(pool.map(lambda _: create(acme, path, body)["label"], range(8)))
    assert sorted(labels) == list("BCDEFGHI")
    read = acme.get(f"/v1/studies/{study}", view="full").json()["iterations"]
    assert [one["label"] for one in read] == list("ABCDEFGHI")
    other = create(acme, "/v1/studies", STUDY)["id"]
    assert create(acme, f"/v1/studies/{other}/iterations", body)["label"] == "A"


def test_labels_go_on_as_columns_of_a_spreadsheet_do() -> None:
    assert [label(n) for n in (1, 26, 27, 52, 53, 702, 703)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]


def test_the_views_of_a_study_count_and_list_its_participants(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    path = f"/v1/studies/{study}"
    ids = make_participants(store, acme.workspace_id, study, iteration, 5)
    make_participants(store, acme.workspace_id, study, iteration, status=Status.DRAFT)
    for id_, status in zip(ids, ("completed", "failed", "cancelled"), strict=False):
        run_to_end(store, id_, 2, status)
    run_steps(store, ids[3], 1)
    summary = acme.get(path).json()
    assert summary == acme.get(path, view="summary").json()
    statuses = ("draft", "pending", "running", "completed", "failed", "cancelled")
    assert {name: value for name, value in summary.items() if name not in {"study_id", "alias", "name"}} == {
        "participant_count": 6,
        **{f"{status}_count": 1 for status in statuses},
        "outcomes": {"gave_up": 1},
        "sentiment": {"negative": 0, "neutral": 0, "positive": 1},
        "partial": True,
    }
    each = acme.get(path, view="per_participant").json()
    rows = each.pop("participants")
    assert (each.pop("next_cursor"), each) == (None, summary)
    listed = acme.get("/v1/participants").json()["items"]
    assert min(row.pop("age_seconds") for row in (*rows, *listed)) >= 0
    highlights = {"highlight", "highlight_index", "highlight_sentiment"}
    assert [{name: row[name] for name in row.keys() - highlights} for row in rows] == listed


def test_a_summary_is_partial_while_a_participant_is_active_or_failed(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)

    def partial_after(id_: UUID | None, status: str = "completed") -> bool:
        if id_:
            run_to_end(store, id_, 1, status)
        return bool(acme.get(f"/v1/studies/{study}").json()["partial"])

    assert not partial_after(None)
    first, second, third = make_participants(store, acme.workspace_id, study, iteration, 3)
    after = [partial_after(first), partial_after(second, "cancelled"), partial_after(third)]
    (failed,) = make_participants(store, acme.workspace_id, study, iteration)
    assert [*after, partial_after(failed, "failed")] == [True, True, False, True]


# -- people ------------------------------------------------------------------------------------------------


def test_a_person_reads_as_it_was_created(acme: ApiClient) -> None:
    traits = {"patience": 0.25, "accessibility": ["low_vision"], "nested": {"a": [1, None, True, -2.5e-3]}}
    made = create(acme, "/v1/people", ADA | {"traits": traits, "bio": "Zählt 🐈"})
    assert set(made) == {"id", "alias", *ADA, "traits", "bio", "created_at"}
    assert (made["traits"], made["bio"], made["alias"]) == (traits, "Zählt 🐈", f"tp-{made['id'][:3]}")
    assert acme.get(f"/v1/people/{made['id']}").json() == made
    assert create(acme, "/v1/people", ADA)["traits"] == {}


def test_many_people_are_created_in_the_order_given(acme: ApiClient) -> None:
    names = [f"Person {n}" for n in range(40)]
    made = create(acme, "/v1/people", {"people": [ADA | {"name": name} for name in names]})["items"]
    assert [one["name"] for one in made] == names


def test_people_are_generated_alike_from_the_same_seed(acme: ApiClient) -> None:
    def generated(**seed: Any) -> list[Any]:
        made = create(acme, "/v1/people", {"generate": 3, **seed})["items"]
        return [(one["name"], one["age"], one["traits"], one["bio"]) for one in made]

    assert generated(seed=7) == generated(seed=7)
    assert generated(seed=7) != generated(seed=8)
    assert generated() != generated(seed=None)


def test_ten_thousand_people_are_generated_at_once(store: Store, acme: ApiClient) -> None:
    made = create(acme, "/v1/people", {"generate": 10_000, "seed": 1})["items"]
    assert len({one["alias"] for one in made}) == 10_000
    assert counts(store)["person"] == 10_004
    last = made[-1]
    assert acme.get(f"/v1/people/{last['alias']}").json() == last


@one_store
def test_ten_thousand_profiles_fit_one_request_and_no_more(store: Store, acme: ApiClient) -> None:
    profile = ADA | {"bio": "b" * 1_000}
    assert acme.post("/v1/people", {"people": [ADA] * 10_001}).status_code == 422
    assert len(create(acme, "/v1/people", {"people": [profile] * 10_000})["items"]) == 10_000
    assert counts(store)["person"] == 10_004


# -- aliases -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("collection", "prefix", "synonym"), [("studies", "s", None), ("participants", "t", "pt"), ("people", "tp", "p")]
)
def test_an_alias_names_the_same_object_as_its_uuid(
    store: Store, acme: ApiClient, collection: str, prefix: str, synonym: str | None
) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    ids = {"studies": study, "participants": id_, "people": participant(store, id_)["person_id"]}
    uuid, hexed = str(ids[collection]), ids[collection].hex

    def status(ref: str) -> int:
        return acme.http.get(f"/v1/{collection}/{quote(ref, safe='')}").status_code

    def read(ref: str) -> dict[str, Any]:
        return dict(acme.get(f"/v1/{collection}/{ref}").json()) | {"age_seconds": 0}

    alias = read(uuid)["alias"]
    digits = alias.removeprefix(f"{prefix}-")
    # Another person's id can begin with the same digits.
    assert hexed.startswith(digits)
    assert len(digits) >= 3
    valid = [alias, uuid.upper(), uuid.title(), *([f"{synonym}-{digits}"] if synonym else [])]
    assert [read(ref) for ref in valid] == [read(uuid)] * len(valid)
    malformed = [
        *(alias.upper(), f" {alias}", f"{alias}\n", hexed, f"{{{uuid}}}", f"urn:uuid:{uuid}", digits, f"{prefix}-"),
        *(f"{prefix}--{digits}", f"x-{digits}", f"w-{digits}", f"{prefix}-{digits[:2]}"),
    ]
    assert {ref: status(ref) for ref in malformed} == dict.fromkeys(malformed, 422)
    # Aliases match exactly; other prefixes of the UUID do not.
    assert status(f"{prefix}-{hexed[:9]}") == 404


def test_an_alias_grows_on_a_clash_and_the_earlier_one_keeps_its_own(
    acme: ApiClient, rival: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {one["alias"][3:6] for caller in (acme, rival) for one in caller.get("/v1/people").json()["items"]}
    abc = next(head for head in map("{:03x}".format, range(0xABC, 0xFFF)) if head not in there)
    ids = [UUID(f"{abc}{digits}{str(uuid4())[5:]}") for digits in ("d1", "d2", "e1", "d1", "d3")]
    drawn = iter(ids)
    monkeypatch.setattr("understudy.store.people.uuid4", lambda: next(drawn))
    first = create(acme, "/v1/people", ADA)
    rest = create(acme, "/v1/people", {"people": [ADA, ADA, ADA]})["items"]
    aliases = [one["alias"] for one in (first, *rest)]
    assert aliases[:3] == [f"tp-{abc}", f"tp-{abc}d", f"tp-{abc}e"]
    assert aliases[3] == f"tp-{ids[3].hex[:5]}"
    assert [acme.get(f"/v1/people/{alias}").json()["id"] for alias in aliases] == [str(id_) for id_ in ids[:4]]
    assert create(rival, "/v1/people", ADA)["alias"] == f"tp-{abc}", "another workspace's aliases do not count"


# -- participants ------------------------------------------------------------------------------------------


def test_a_participant_reads_complete(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    row = participant(store, id_)
    before = acme.get(f"/v1/participants/{id_}").json()
    expected = {
        "id": str(id_),
        "alias": row["alias"],
        "status": "pending",
        "outcome": None,
        "person_id": str(row["person_id"]),
        "study_id": str(study),
        "iteration_id": str(iteration),
        "ask_id": None,
        "round": None,
        "interaction_count": 0,
        "max_interactions": 5,
        "extended_from": None,
        "branched_at": 0,
        "instruction": None,
        "attempt": 0,
        "error_kind": None,
        "error_message": None,
        "started_at": None,
        "finished_at": None,
        "stopped_at": None,
        "likely_stuck": False,
        "stuck_reason": None,
        "held_reason": None,
    }
    assert {name: before[name] for name in expected} == expected
    assert set(before) == {*expected, "created_at", "age_seconds", "person_name"}
    assert before["person_name"] == acme.get(f"/v1/people/{before['person_id']}").json()["name"]
    run_to_end(store, id_, 2, "failed")
    after = acme.get(f"/v1/participants/{id_}").json()
    changed = {name: after[name] for name in before if after[name] != before[name] and name != "age_seconds"}
    times = {"started_at": changed.pop("started_at"), "finished_at": changed.pop("finished_at")}
    assert changed == {
        "status": "failed",
        "interaction_count": 2,
        "error_kind": "environment_error",
        "error_message": "no answer",
    }
    moments = [datetime.fromisoformat(time) for time in (before["created_at"], *times.values())]
    assert moments == sorted(moments)
    assert abs((datetime.now(UTC) - moments[0]).total_seconds()) < 60
    assert after["age_seconds"] >= before["age_seconds"] >= 0


def test_participants_are_listed_by_scope_and_by_status(store: Store, acme: ApiClient) -> None:
    study, iterations = make_study(store, acme.workspace_id, iterations=2)
    first, second = (make_participants(store, acme.workspace_id, study, one, 2) for one in iterations)
    ask, (round_1, round_2) = make_ask(store, acme.workspace_id)
    run_to_end(store, first[0], 1)
    run_steps(store, second[0], 1)

    def listed(**params: Any) -> set[str]:
        return {one["id"] for one in acme.get("/v1/participants", **params).json()["items"]}

    def names(*ids: UUID) -> set[str]:
        return {str(id_) for id_ in ids}

    assert listed() == names(*first, *second, *round_1, *round_2)
    assert listed(study_id=str(study)) == names(*first, *second)
    assert listed(iteration_id=str(iterations[1])) == names(*second)
    assert listed(ask_id=str(ask)) == names(*round_1, *round_2)
    assert listed(ask_id=str(ask), round=2) == names(*round_2)
    assert listed(study_id=str(study), status="completed") == names(first[0])
    assert listed(iteration_id=str(iterations[1]), status="pending") == names(second[1])
    assert listed(status="running") == names(second[0])
    assert listed(status="draft") == set()


# -- lists -------------------------------------------------------------------------------------------------


def test_pages_have_no_gap_and_no_double_while_rows_are_added(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    known = [str(id_) for id_ in make_participants(store, acme.workspace_id, study, iteration, 9)]
    sizes: list[int] = []
    seen: list[str] = []
    added: list[str] = []
    for number, items in enumerate(pages(acme, "/v1/participants", limit=2)):
        sizes.append(len(items))
        seen += [one["id"] for one in items]
        if number < 3:
            added += [str(id_) for id_ in make_participants(store, acme.workspace_id, study, iteration, 3)]
    assert sizes == [2] * 9
    assert len(seen) == len(set(seen)) == 18
    assert set(seen[:9]) == set(known), "in order of creation"
    assert set(seen) == {*known, *added}
    assert seen == [one["id"] for one in acme.get("/v1/participants").json()["items"]]


def test_every_list_comes_in_pages_of_50_by_default_and_500_at_most(store: Store, acme: ApiClient) -> None:
    acme.post("/v1/people", {"generate": 500})
    for _ in range(3):
        acme.post("/v1/studies", STUDY)
    first = acme.get("/v1/people").json()
    assert len(first["items"]) == 50
    assert len(acme.get("/v1/people", limit=500).json()["items"]) == 500
    sizes = [len(items) for items in pages(acme, "/v1/people", limit=252)]
    assert sizes == [252, 252]
    assert [len(items) for items in pages(acme, "/v1/studies", limit=1)] == [1, 1, 1]


BAD_QUERIES = {
    "limit": ["0", "501", "-1", "7.0", "+5", " 5", "5 ", "", "1e2", "0x10", "true", "٣", "5_0", "9" * 30],
    "cursor": [
        *("", "x", "=", "....", "%", "0", "-1", "null", "next", "🐈", "\x00", "a" * 501, "W10", "e30", "_" * 16),
        *(
            base64.urlsafe_b64encode(b"sealed by me" + text).decode()
            for text in (f"2026-01-01T00:00:00+00:00 {UUID(int=7)}".encode(), b"7", b"\xff\xfe")
        ),
    ],
    "own": ["1", "True", "yes", "", "null"],
}


@pytest.fixture
def list_paths(store: Store, acme: ApiClient) -> list[str]:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    return ["/v1/studies", "/v1/people", "/v1/participants", f"/v1/participants/{id_}/interactions"]


@one_store
@pytest.mark.parametrize("parameter", BAD_QUERIES)
def test_a_malformed_query_parameter_of_a_list_is_refused(
    acme: ApiClient, list_paths: list[str], parameter: str
) -> None:
    cases = [(path, value) for path in list_paths for value in BAD_QUERIES[parameter]]
    answers = {(path, value): acme.get(path, **{parameter: value}) for path, value in cases}
    results = {case: (answer.status_code, parameter in answer.json()["error"]) for case, answer in answers.items()}
    assert results == dict.fromkeys(cases, (422, True))


@one_store
def test_own_is_true_or_false(acme: ApiClient, list_paths: list[str]) -> None:
    assert [acme.get(list_paths[-1], own=own).status_code for own in ("true", "false")] == [200, 200]


@one_store
def test_a_cursor_is_valid_only_for_the_list_that_returned_it(store: Store, acme: ApiClient, rival: ApiClient) -> None:
    study, iterations = make_study(store, acme.workspace_id, iterations=2)
    other, _ = make_study(store, acme.workspace_id)
    first, second = make_participants(store, acme.workspace_id, study, iterations[0], 2)
    for id_ in (first, second):
        run_to_end(store, id_, 2)
    make_study(store, rival.workspace_id)
    lists = [
        *("/v1/studies", "/v1/people", "/v1/participants", f"/v1/participants?study_id={study}"),
        f"/v1/participants?study_id={study}&status=completed",
        f"/v1/participants?iteration_id={iterations[0]}",
        *(f"/v1/participants/{first}/interactions", f"/v1/participants/{first}/interactions?own=true"),
        f"/v1/participants/{second}/interactions",
    ]

    def page(caller: ApiClient, path: str, **query: Any) -> httpx.Response:
        return caller.http.get(httpx.URL(path).copy_merge_params(query))

    cursors = {path: page(acme, path, limit=1).json()["next_cursor"] for path in lists}
    valid = {(path, of): page(acme, path, cursor=cursors[of]).status_code for path in lists for of in lists}
    assert valid == {(path, of): 200 if path == of else 422 for path in lists for of in lists}
    changed = [
        (path, cursor)
        for path, good in cursors.items()
        for cursor in (f"{good}A", good[:-1], f"{'C' if good[0] == 'B' else 'B'}{good[1:]}")
    ]
    assert {case: page(acme, case[0], cursor=case[1]).status_code for case in changed} == dict.fromkeys(changed, 422)
    assert [page(rival, path, cursor=cursors[path]).status_code for path in lists[:3]] == [422] * 3
    # The page size may change, and an alias names the same list as the id.
    of_study = cursors[f"/v1/participants?study_id={study}"]
    alias = acme.get(f"/v1/studies/{study}").json()["alias"]
    assert acme.get("/v1/participants", study_id=alias, cursor=of_study, limit=7).status_code == 200
    # A view of the study shows the same participants in the same order.
    each = {"view": "per_participant", "cursor": of_study}
    assert [acme.get(f"/v1/studies/{id_}", **each).status_code for id_ in (study, other)] == [200, 422]


@one_store
def test_a_created_object_has_its_location(acme: ApiClient) -> None:
    study = acme.http.post("/v1/studies", json=LAMPS)
    iteration = acme.http.post(study.headers["location"] + "/iterations", json={"content": WEB})
    person = acme.http.post("/v1/people", json=ADA)
    several = acme.http.post("/v1/people", json={"generate": 2})
    created = (study, iteration, person, several)
    assert [answer.status_code for answer in created] == [201] * 4
    assert acme.get(study.headers["location"]).json()["study_id"] == study.json()["id"]
    assert iteration.headers["location"] == f"{study.headers['location']}?view=full"
    assert acme.get(person.headers["location"]).json() == person.json()
    assert several.headers["location"] == "/v1/people"


def test_a_study_is_created_with_its_run_in_one_transaction(acme: ApiClient) -> None:
    body = LAMPS | {"iteration": {"content": WEB}, "run": {"sample": 2, "max_interactions": 3}}
    created = acme.http.post("/v1/studies", json=body).json()
    assert created["run"]["ok"]
    assert created["run"]["dispatch"]["study_id"] == created["id"]
    assert len(created["run"]["dispatch"]["participant_ids"]) == 2
    before = acme.get("/v1/studies").json()
    refused = acme.http.post("/v1/studies", json=body | {"run": {"sample": 9_999}})
    assert refused.status_code == 422
    assert acme.http.post("/v1/studies", json=LAMPS | {"run": {"sample": 1}}).status_code == 422
    assert acme.get("/v1/studies").json() == before
    waited = acme.http.post("/v1/studies", json=body | {"run": {"sample": 1, "wait": True, "timeout": 0.05}})
    assert (waited.status_code, waited.json()["run"]["error_code"]) == (201, "wait_timeout")


@pytest.mark.parametrize("path", ["/v1/studies", "/v1/asks"])
def test_list_with_newest_first_is_the_reverse_of_the_list(store: Store, acme: ApiClient, path: str) -> None:
    for _ in range(3):
        make_study(store, acme.workspace_id)
        make_ask(store, acme.workspace_id)
    in_order = [item["id"] for item in acme.get(path).json()["items"]]
    newest: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        found = acme.get(path, newest_first="true", limit=2, **cursor).json()
        newest += [item["id"] for item in found["items"]]
        if found["next_cursor"] is None:
            break
        cursor = {"cursor": found["next_cursor"]}
    assert newest == in_order[::-1]
    # A cursor of one direction is none of the other.
    assert len(in_order) == 3
    assert acme.get(path, limit=2, **cursor).status_code == 422
