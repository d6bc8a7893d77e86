"""Pages in bytes: a page of large items ends early with a cursor; what has no pages is shortened or refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from tests.contract.manual_worker import claim, commit, make_run
from tests.contract.paging import pages
from tests.factories import make_ask
from tests.http_client import ApiClient
from understudy.domain.lifecycle import Outcome
from understudy.domain.page_size import MAX_PAGE_BYTES
from understudy.domain.simulation import Person
from understudy.store import Connection, events, lifecycle, people, studies
from understudy.store.engine import Store
from understudy.store.schema import Tables

MIB = 1024 * 1024
#: 1 MiB as UTF-8.
LARGE = "é" * (MIB // 2)
COUNT = 10


def ended_run(store: Store, caller: ApiClient, participants: int, steps: int, **step: Any) -> tuple[str, list[str]]:
    """A study with participants that completed with these interactions."""
    study, ids = make_run(store, caller, participants, max_interactions=99)
    for id_ in ids:
        held = claim(store, id_)
        for index in range(steps):
            assert commit(store, held, index, **step)
        store.write(lambda connection, held=held: lifecycle.complete(connection, held, Outcome.CAP_REACHED, 1))
    return str(study), [str(id_) for id_ in ids]


def large_people(store: Store, caller: ApiClient) -> None:
    # Older versions stored traits of any size.
    panel = [Person(f"Person {number}", 30, "DE", "de", {"story": LARGE}, "") for number in range(COUNT)]
    store.write(lambda connection: people.insert_people(connection, caller.workspace_id, panel))


def answers(caller: ApiClient, path: str, **params: Any) -> Iterator[int]:
    """The sizes of the pages of a list."""
    cursor: str | None = None
    while True:
        answer = caller.get(path, limit=500, **params, **({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text[:500]
        yield len(answer.content)
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return


def check_pages(caller: ApiClient, path: str, rows: str, count: int, **params: Any) -> None:
    """Every page fits, and together they have every item once."""
    sizes = list(answers(caller, path, **params))
    assert len(sizes) > 1
    assert max(sizes) <= MAX_PAGE_BYTES
    ids = [
        one.get("id", one.get("participant_id", one.get("person_id"))) if "index" not in one else one["index"]
        for page in pages(caller, path, rows=rows, limit=500, **params)
        for one in page
    ]
    assert len(ids) == len(set(ids)) == count


def test_pages_of_people_and_their_export_are_bounded(store: Store, acme: ApiClient) -> None:
    large_people(store, acme)
    check_pages(acme, "/v1/people", "items", COUNT, search="Person")
    assert acme.get("/v1/people/export", search="Person").status_code == 200
    large_people(store, acme)
    refused = acme.get("/v1/people/export", search="Person")
    assert (refused.status_code, "at most 16 MiB" in refused.text) == (422, True)


def test_pages_of_interactions_transcripts_and_highlights_are_bounded(store: Store, acme: ApiClient) -> None:
    observation = {"url": "page/0", "title": "Page", "problem": "", "text": LARGE}
    study, (first, *_) = ended_run(store, acme, 3, 4, observation=observation, thought=LARGE)
    _, (long,) = ended_run(store, acme, 1, COUNT, observation=observation)
    check_pages(acme, f"/v1/participants/{long}/interactions", "items", COUNT)
    check_pages(acme, f"/v1/studies/{study}", "transcripts", 3, view="transcripts")
    assert [one["highlight"] for one in acme.get(f"/v1/studies/{study}", view="per_participant").json()["participants"]]
    transcript = acme.get(f"/v1/participants/{long}/transcript")
    assert len(transcript.content) <= MAX_PAGE_BYTES
    assert [one.get("index") for one in transcript.json()["items"] if one["role"] == "environment"] == [*range(COUNT)]
    assert acme.get(f"/v1/participants/{first}/journey").json()["steps"][0]["thought"] == LARGE


def test_rows_of_a_study_with_large_highlights_are_bounded(store: Store, acme: ApiClient) -> None:
    study, _ = ended_run(store, acme, COUNT, 1, thought=LARGE)
    check_pages(acme, f"/v1/studies/{study}", "participants", COUNT, view="per_participant")


def test_a_journey_with_large_texts_has_all_steps_and_is_bounded(store: Store, acme: ApiClient) -> None:
    _, (id_,) = ended_run(
        store, acme, 1, 2 * COUNT, thought=LARGE, action={"kind": "say", "target": None, "value": LARGE}
    )
    answer = acme.get(f"/v1/participants/{id_}/journey")
    assert len(answer.content) <= MAX_PAGE_BYTES
    steps = answer.json()["steps"]
    assert [step["index"] for step in steps] == [*range(2 * COUNT)]
    assert (steps[0]["thought"], steps[-1]["thought"][-1], len(steps[-1]["thought"])) == (LARGE, "…", 200)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_pages_of_studies_and_participants_are_bounded(store: Store, acme: ApiClient) -> None:
    def insert_large_study(connection: Connection) -> object:
        fields = {"name": "Walk", "modality": "interactive", "assignment": {"task": "Walk"}, "questions": [LARGE]}
        return studies.insert_study(connection, acme.workspace_id, **fields)

    for _ in range(COUNT):
        store.write(insert_large_study)
    check_pages(acme, "/v1/studies", "items", COUNT)
    _, ids = make_run(store, acme, COUNT)
    for id_ in ids:
        held = claim(store, id_)
        store.write(
            lambda connection, held=held: lifecycle.fail(connection, held, lifecycle.FailureKind.STEP_TIMEOUT, LARGE, 1)
        )
    check_pages(acme, "/v1/participants", "items", COUNT)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_pages_of_an_asks_people_are_bounded(store: Store, acme: ApiClient) -> None:
    ask, (round_ids,) = make_ask(store, acme.workspace_id, rounds=1, each=4)
    value = {"pick": "A", "ratings": {"A": 5, "B": 1}, "comment": LARGE * 3}
    for id_ in round_ids:
        held = claim(store, id_)
        assert commit(store, held, 0, action={"kind": "answer", "target": None, "value": value})
        store.write(lambda connection, held=held: lifecycle.complete(connection, held, None, 1))
    check_pages(acme, f"/v1/asks/{ask}", "people", 4, view="per_participant")


def test_events_are_read_in_bounded_pages(store: Store, acme: ApiClient) -> None:
    make_run(store, acme, COUNT)
    large = update(Tables.event).values(data={"status": "pending", "note": LARGE})
    store.write(lambda connection: connection.execute(large))
    while store.write(events.assign_positions):
        pass
    with store.read() as connection:
        rows, has_more = events.events_after(connection, acme.workspace_id, 0, 200)
        assert (0 < len(rows) < COUNT, has_more) == (True, True)
        more, has_more = events.events_after(connection, acme.workspace_id, rows[-1].position, 200)
        assert (len(rows) + len(more), has_more) == (COUNT, False)
