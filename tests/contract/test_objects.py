"""Studies, iterations, people and participants over HTTP; their aliases and their lists. Contract 1 and 6."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from tests.contract.manual_worker import counts, dump_tables, participant, run_steps, run_to_end
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from understudy.domain.lifecycle import Status
from understudy.service.studies import label
from understudy.store.engine import Store

STUDY = {"name": "Shop", "modality": "interactive", "assignment": {"task": "Buy a lamp"}}
WEB = {"environment": "web", "url": "https://shop.example/"}
ADA = {"name": "Ada", "age": 36, "country": "GB", "language": "en"}

one_store = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


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
        *("id", "alias", "name", "modality", "status", "assignment", "questions", "created_at", "iterations")
    }
    given = {"name": "Shop", "modality": "interactive", "assignment": assignment, "questions": questions}
    assert {name: made[name] for name in given} == given
    assert made["iterations"] == []
    assert made["alias"] == f"s-{made['id'][:3]}"
    assert acme.get(f"/v1/studies/{made['id']}", view="full").json() == made
    (listed,) = acme.get("/v1/studies").json()["items"]
    assert listed == {name: value for name, value in made.items() if name != "iterations"}


def test_a_study_may_come_with_its_first_iteration_or_not_at_all(store: Store, acme: ApiClient) -> None:
    made = create(acme, "/v1/studies", STUDY | {"iteration": {"content": WEB}})
    (iteration,) = made["iterations"]
    expected = {
        "study_id": made["id"],
        "label": "A",
        "content": WEB,
        "max_interactions": None,
        "mind": "heuristic",
        "step_timeout": 60,
        "run_timeout": 3600,
    }
    assert {name: iteration[name] for name in expected} == expected
    before = dump_tables(store)
    wrong = STUDY | {"iteration": {"content": WEB | {"url": "ftp://shop.example"}}}
    assert acme.post("/v1/studies", wrong).status_code == 422
    assert dump_tables(store) == before


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


@one_store
def test_content_that_nobody_could_act_on_is_refused(store: Store, acme: ApiClient) -> None:
    study = create(acme, "/v1/studies", STUDY)["id"]
    before = dump_tables(store)
    urls = [
        *("", "shop.example", "/relative", "ftp://shop.example", "javascript:alert(1)", "file:///etc/passwd"),
        *("http://", "https://:80", "http://a b", "http://a\tb", "http://shop.example:99999", "http://[::1"),
        *("http://shop.example:0", "http://shop.example:x", "//shop.example", 7, None, [], {}),
        "https://shop.example/" + "a" * 2_000,
    ]
    contents_ = [
        *({"environment": "web", "url": url} for url in urls),
        *({"environment": name, "url": "https://shop.example"} for name in ("nope", "", None, 7, [], {})),
        *({}, {"url": "https://shop.example"}, {"environment": "web"}, WEB | {"surplus": 1}),
        *([], "web", None),
    ]
    for content in contents_:
        answer = acme.post(f"/v1/studies/{study}/iterations", {"content": content})
        assert answer.status_code == 422, content
        assert len(answer.json()["error"]) < 500
    for wrong in ({"mind": "nope"}, {"mind": ""}, {"max_interactions": 0}, {"max_interactions": 1_001}):
        assert acme.post(f"/v1/studies/{study}/iterations", {"content": WEB} | wrong).status_code == 422, wrong
    for name, most in (("step_timeout", 3_600), ("run_timeout", 86_400)):
        for seconds in (0, -1, most + 1):
            body = {"content": WEB, name: seconds}
            assert acme.post(f"/v1/studies/{study}/iterations", body).status_code == 422, body
    chat = create(acme, "/v1/studies", STUDY | {"modality": "chat"})["id"]
    answer = acme.post(f"/v1/studies/{chat}/iterations", {"content": WEB})
    assert (answer.status_code, "chat" in answer.json()["error"]) == (422, True)
    huge = acme.post(f"/v1/studies/{study}/iterations", {"content": {"environment": "x" * 500_000}})
    assert (huge.status_code, len(huge.text) < 1_000) == (422, True)
    after = dump_tables(store)
    assert (after["iteration"], len(after["study"])) == (before["iteration"], 2)


def test_the_views_of_a_study_tell_where_its_participants_stand(store: Store, acme: ApiClient) -> None:
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
    for row in rows:
        for name in ("highlight", "highlight_index", "highlight_sentiment"):
            row.pop(name)
    listed = acme.get("/v1/participants").json()["items"]
    for row in (*rows, *listed):
        assert row.pop("age_seconds") >= 0
    assert rows == listed


def test_a_summary_is_partial_while_something_is_open_or_failed(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)

    def partial() -> bool:
        return bool(acme.get(f"/v1/studies/{study}").json()["partial"])

    assert not partial()
    first, second, third = make_participants(store, acme.workspace_id, study, iteration, 3)
    for id_, status, expected in (
        (first, "completed", True),
        (second, "cancelled", True),
        (third, "completed", False),
    ):
        run_to_end(store, id_, 1, status)
        assert partial() is expected
    (failed,) = make_participants(store, acme.workspace_id, study, iteration)
    run_to_end(store, failed, 1, "failed")
    assert partial()


# -- people ------------------------------------------------------------------------------------------------


def test_a_person_reads_as_it_was_created(acme: ApiClient) -> None:
    traits = {"patience": 0.25, "accessibility": ["low_vision"], "nested": {"a": [1, None, True, -2.5e-3]}}
    made = create(acme, "/v1/people", ADA | {"traits": traits, "bio": "Zählt 🐈"})
    assert set(made) == {"id", "alias", *ADA, "traits", "bio", "created_at"}
    assert (made["traits"], made["bio"], made["alias"]) == (traits, "Zählt 🐈", f"tp-{made['id'][:3]}")
    assert acme.get(f"/v1/people/{made['id']}").json() == made
    assert create(acme, "/v1/people", ADA)["traits"] == {}


def test_many_people_are_created_in_the_order_given_all_or_none(store: Store, acme: ApiClient) -> None:
    names = [f"Person {n}" for n in range(40)]
    made = create(acme, "/v1/people", {"people": [ADA | {"name": name} for name in names]})["items"]
    assert [one["name"] for one in made] == names
    before = dump_tables(store)
    wrong = {"people": [ADA, ADA | {"age": 131}]}
    assert "people.1.age" in acme.post("/v1/people", wrong).json()["error"]
    for body in ({"people": []}, {"people": [ADA], "generate": 1}, {"people": [ADA], **ADA}):
        assert acme.post("/v1/people", body).status_code == 422, body
    assert dump_tables(store) == before


def test_people_are_generated_alike_from_the_same_seed(acme: ApiClient) -> None:
    def generated(**seed: Any) -> list[Any]:
        made = create(acme, "/v1/people", {"generate": 3, **seed})["items"]
        return [(one["name"], one["age"], one["traits"], one["bio"]) for one in made]

    assert generated(seed=7) == generated(seed=7)
    assert generated(seed=7) != generated(seed=8)
    assert generated() != generated(seed=None)


def test_ten_thousand_people_are_generated_at_once_and_no_more(store: Store, acme: ApiClient) -> None:
    for wrong in (0, -1, 10_001):
        assert acme.post("/v1/people", {"generate": wrong}).status_code == 422
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


def test_an_alias_names_what_its_uuid_does(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    person = participant(store, id_)["person_id"]
    objects = {
        f"/v1/studies/{study}": "s",
        f"/v1/participants/{id_}": "t",
        f"/v1/people/{person}": "tp",
    }
    synonyms = {"t": "pt", "tp": "p"}
    for path, prefix in objects.items():
        read = acme.get(path).json()
        collection, _, uuid = path.rpartition("/")
        digits = read["alias"].removeprefix(f"{prefix}-")
        others = [one["id"] for one in acme.get(collection).json()["items"] if one["id"] != uuid]
        if any(other.startswith(uuid[:3]) for other in others):
            assert uuid.replace("-", "").startswith(digits)
        else:
            assert digits == uuid[:3]
        fine = [read["alias"], uuid.upper(), uuid.title()]
        fine += [f"{synonyms[prefix]}-{digits}"] if prefix in synonyms else []
        for ref in fine:
            again = acme.get(f"{collection}/{ref}")
            assert again.status_code == 200, ref
            assert again.json() | {"age_seconds": 0} == read | {"age_seconds": 0}
        hexed = uuid.replace("-", "")
        for ref in (
            *(read["alias"].upper(), f" {read['alias']}", f"{read['alias']}\n", hexed, f"{{{uuid}}}"),
            *(f"urn:uuid:{uuid}", digits, f"{prefix}-", f"{prefix}--{digits}", f"x-{digits}", f"w-{digits}"),
            f"{prefix}-{digits[:2]}",
        ):
            assert acme.http.get(f"{collection}/{quote(ref, safe='')}").status_code == 422, ref
        # Matched exactly: not any prefix of the UUID.
        assert acme.get(f"{collection}/{prefix}-{hexed[:9]}").status_code == 404


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
    for made, id_ in zip((first, *rest), ids[:4], strict=True):
        assert acme.get(f"/v1/people/{made['alias']}").json()["id"] == str(id_)
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
        "error_message": "nothing answers",
    }
    moments = [datetime.fromisoformat(time) for time in (before["created_at"], *times.values())]
    assert moments == sorted(moments)
    assert abs((datetime.now(UTC) - moments[0]).total_seconds()) < 60
    assert after["age_seconds"] >= before["age_seconds"] >= 0


def test_participants_are_listed_by_one_scope_at_most_and_by_status(store: Store, acme: ApiClient) -> None:
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
    assert listed(study_id=str(study), status="completed") == names(first[0])
    assert listed(iteration_id=str(iterations[1]), status="pending") == names(second[1])
    assert listed(status="running") == names(second[0])
    assert listed(status="draft") == set()
    for wrong in (
        {"study_id": str(study), "ask_id": str(ask)},
        {"study_id": str(study), "iteration_id": str(iterations[0])},
        *({"status": status} for status in ("", "Pending", "nope", "pending,running")),
        {"study_id": ""},
        {"study_id": str(study), "surplus": "1"},
    ):
        assert acme.get("/v1/participants", **wrong).status_code == 422, wrong


# -- lists -------------------------------------------------------------------------------------------------


def test_pages_have_no_gap_and_no_double_while_rows_are_added(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    known = [str(id_) for id_ in make_participants(store, acme.workspace_id, study, iteration, 9)]
    seen: list[str] = []
    added: list[str] = []
    for number, items in enumerate(pages(acme, "/v1/participants", limit=2)):
        assert len(items) <= 2
        seen += [one["id"] for one in items]
        if number < 3:
            added += [str(id_) for id_ in make_participants(store, acme.workspace_id, study, iteration, 3)]
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


GARBAGE = [
    *("", "x", "=", "....", "%", "0", "-1", "null", "next", "🐈", "\x00", "a" * 501, "W10", "e30", "_" * 16),
    base64.urlsafe_b64encode(b"sealed by me" + b"2026-01-01T00:00:00+00:00 " + str(uuid4()).encode()).decode(),
    base64.urlsafe_b64encode(b"sealed by me" + b"7").decode(),
    base64.urlsafe_b64encode(b"sealed by me" + b"\xff\xfe").decode(),
]


@pytest.fixture
def list_paths(store: Store, acme: ApiClient) -> list[str]:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    return ["/v1/studies", "/v1/people", "/v1/participants", f"/v1/participants/{id_}/interactions"]


@one_store
def test_a_limit_that_is_no_whole_number_from_1_to_500_is_refused(acme: ApiClient, list_paths: list[str]) -> None:
    for path in list_paths:
        for limit in (
            "0",
            "501",
            "-1",
            "7.0",
            "+5",
            " 5",
            "5 ",
            "",
            "1e2",
            "0x10",
            "true",
            "٣",
            "5_0",
            "9" * 30,
        ):
            answer = acme.get(path, limit=limit)
            assert (answer.status_code, "limit" in answer.json()["error"]) == (422, True), (path, limit)


@one_store
def test_a_cursor_that_we_did_not_give_out_is_refused(acme: ApiClient, list_paths: list[str]) -> None:
    for path in list_paths:
        for cursor in GARBAGE:
            answer = acme.get(path, cursor=cursor)
            assert (answer.status_code, "cursor" in answer.json()["error"]) == (422, True), (path, cursor)


@one_store
def test_a_cursor_is_good_for_the_very_list_it_came_from(store: Store, acme: ApiClient, rival: ApiClient) -> None:
    study, iterations = make_study(store, acme.workspace_id, iterations=2)
    other, _ = make_study(store, acme.workspace_id)
    first, second = make_participants(store, acme.workspace_id, study, iterations[0], 2)
    for id_ in (first, second):
        run_to_end(store, id_, 2)
    make_study(store, rival.workspace_id)
    alias = acme.get(f"/v1/studies/{study}").json()["alias"]
    each = {"view": "per_participant"}
    lists: list[tuple[str, dict[str, str]]] = [
        ("/v1/studies", {}),
        ("/v1/people", {}),
        ("/v1/participants", {}),
        ("/v1/participants", {"study_id": str(study)}),
        ("/v1/participants", {"study_id": str(study), "status": "completed"}),
        ("/v1/participants", {"iteration_id": str(iterations[0])}),
        (f"/v1/participants/{first}/interactions", {}),
        (f"/v1/participants/{first}/interactions", {"own": "true"}),
        (f"/v1/participants/{second}/interactions", {}),
    ]
    cursors = [acme.get(path, limit=1, **params).json()["next_cursor"] for path, params in lists]
    assert len(set(cursors)) == len(lists)
    for number, (path, params) in enumerate(lists):
        for position, cursor in enumerate(cursors):
            answer = acme.get(path, cursor=cursor, **params)
            assert (answer.status_code == 200) is (number == position), (path, params, lists[position])
        good = cursors[number]
        for spoiled in (f"{good}A", good[:-1], f"{'C' if good[0] == 'B' else 'B'}{good[1:]}"):
            assert acme.get(path, cursor=spoiled, **params).status_code == 422
        if "/interactions" not in path and not params:
            assert rival.get(path, cursor=cursors[number]).status_code == 422
    # The size of pages may change on the way, and an alias names the same list as the id.
    of_study = cursors[3]
    assert acme.get("/v1/participants", study_id=alias, cursor=of_study, limit=7).status_code == 200
    # A view of the study shows the same participants in the same order.
    assert acme.get(f"/v1/studies/{study}", cursor=of_study, **each).status_code == 200
    assert acme.get(f"/v1/studies/{other}", cursor=of_study, **each).status_code == 422


@one_store
def test_own_is_true_or_false(acme: ApiClient, list_paths: list[str]) -> None:
    for own in ("1", "True", "yes", "", "null"):
        assert acme.get(list_paths[-1], own=own).status_code == 422, own
    for own in ("true", "false"):
        assert acme.get(list_paths[-1], own=own).status_code == 200
