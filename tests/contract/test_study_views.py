"""What came of a study: highlights, transcripts and hints, in pages. Contract 6."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from tests.contract.manual_worker import claim, commit, end, run_steps, run_to_end
from tests.factories import make_ask, make_lease, make_participants, make_study
from tests.http_client import ApiClient
from understudy.service import studies
from understudy.store import dispatch
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

one_store = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


def feel(store: Store, participant_id: UUID, sentiments: Sequence[float], *, first: int = 0) -> None:
    """A whole run, in which it felt like this, one after another."""
    held = claim(store, participant_id)
    for index, sentiment in enumerate(sentiments, first):
        assert commit(store, held, index, sentiment=sentiment)
    end(store, held, "completed")


def extend(store: Store, workspace_id: UUID, source: UUID, instruction: str | None = None) -> UUID:
    row = store.write(lambda connection: dispatch.insert_branch(connection, workspace_id, source, 10, instruction))
    assert row is not None
    id_: UUID = row.id
    return id_


def rows_of(caller: ApiClient, study: UUID, view: str, **params: Any) -> Iterator[list[dict[str, Any]]]:
    """The pages of a view, one after another."""
    name = {"per_participant": "participants", "transcripts": "transcripts"}[view]
    cursor: dict[str, str] = {}
    while True:
        answer = caller.get(f"/v1/studies/{study}", view=view, **params, **cursor).json()
        yield answer[name]
        if answer["next_cursor"] is None:
            return
        cursor = {"cursor": answer["next_cursor"]}


def highlights(caller: ApiClient, study: UUID) -> dict[str, tuple[str | None, int | None, float | None]]:
    (rows,) = rows_of(caller, study, "per_participant")
    return {row["id"]: (row["highlight"], row["highlight_index"], row["highlight_sentiment"]) for row in rows}


# -- highlights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentiments", "strongest"),
    [
        ([0.1, 0.9, 0.3], 1),
        ([0.1, -0.9, 0.8], 1),
        ([0.5, -0.5, 0.2], 1),
        ([0.5, -0.5, 0.5], 2),
        ([0.0, 0.0], 1),
        ([-1.0], 0),
    ],
)
def test_the_highlight_is_what_was_felt_strongest_and_the_latest_of_equals(
    store: Store, acme: ApiClient, sentiments: list[float], strongest: int
) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    feel(store, id_, sentiments)
    expected = (f"Thought {strongest}", strongest, sentiments[strongest])
    assert highlights(acme, study)[str(id_)] == expected


def test_highlights_are_of_the_whole_lineage_and_each_has_its_own(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    source, calm, silent = make_participants(store, acme.workspace_id, study, iteration, 3)
    feel(store, source, [0.1, -0.8])
    feel(store, calm, [0.05])
    child = extend(store, acme.workspace_id, source)
    feel(store, child, [0.4, 0.3], first=2)
    grandchild = extend(store, acme.workspace_id, child)
    feel(store, grandchild, [0.9], first=4)
    waiting = extend(store, acme.workspace_id, child)
    assert highlights(acme, study) == {
        str(source): ("Thought 1", 1, -0.8),
        str(calm): ("Thought 0", 0, 0.05),
        str(silent): (None, None, None),
        str(child): ("Thought 1", 1, -0.8),
        str(grandchild): ("Thought 4", 4, 0.9),
        str(waiting): ("Thought 1", 1, -0.8),
    }


# -- pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["per_participant", "transcripts"])
def test_views_with_participants_come_in_pages_without_gap_or_double(store: Store, acme: ApiClient, view: str) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    ids = make_participants(store, acme.workspace_id, study, iteration, 5)
    run_to_end(store, ids[0], 2)
    other, (another,) = make_study(store, acme.workspace_id)
    make_participants(store, acme.workspace_id, other, another, 3)
    name = "id" if view == "per_participant" else "participant_id"
    pages = [[row[name] for row in rows] for rows in rows_of(acme, study, view, limit=2)]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {id_ for page in pages for id_ in page} == {str(id_) for id_ in ids}
    summary = acme.get(f"/v1/studies/{study}").json()
    page = acme.get(f"/v1/studies/{study}", view=view, limit=1).json()
    assert {field: page[field] for field in summary} == summary, "the counts are of all, not of the page"
    make_participants(store, acme.workspace_id, study, iteration, 60)
    assert [len(rows) for rows in rows_of(acme, study, view)] == [50, 15]


@one_store
def test_the_views_without_pages_take_neither_cursor_nor_limit(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    make_participants(store, acme.workspace_id, study, iteration, 2)
    path = f"/v1/studies/{study}"
    cursor = acme.get(path, view="per_participant", limit=1).json()["next_cursor"]
    for view in ({}, {"view": "summary"}, {"view": "full"}):
        for more in ({"limit": 5}, {"cursor": cursor}):
            answer = acme.get(path, **view, **more)
            assert (answer.status_code, "per_participant" in answer.json()["error"]) == (422, True)
    for view in ("", "Summary", "everything", "summary,full"):
        assert acme.get(path, view=view).status_code == 422


# -- transcripts -------------------------------------------------------------------------------------------


def test_transcripts_are_those_of_each_participant(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    source, waiting = make_participants(store, acme.workspace_id, study, iteration, 2)
    run_to_end(store, source, 2)
    child = extend(store, acme.workspace_id, source, "Switch to German.")
    run_to_end(store, child, 1, "failed")
    (rows,) = rows_of(acme, study, "transcripts")
    assert {row["participant_id"] for row in rows} == {str(id_) for id_ in (source, waiting, child)}
    for row in rows:
        one = acme.get(f"/v1/participants/{row['participant_id']}").json()
        assert {name: row[name] for name in ("alias", "person_name", "status", "outcome")} == {
            name: one[name] for name in ("alias", "person_name", "status", "outcome")
        }
        alone = acme.get(f"/v1/participants/{row['participant_id']}/transcript").json()
        assert row["items"] == alone["items"]
    roles = {row["participant_id"]: [item["role"] for item in row["items"]] for row in rows}
    assert roles[str(waiting)] == ["system"]
    assert roles[str(child)] == ["system", *["environment", "person"] * 2, "user", "environment", "person"]


@one_store
def test_a_page_of_long_transcripts_has_fewer_of_them(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "MAX_TRANSCRIPT_INTERACTIONS", 5)
    study, (iteration,) = make_study(store, acme.workspace_id)
    ids = make_participants(store, acme.workspace_id, study, iteration, 6, max_interactions=20)
    order = [row["id"] for row in acme.get("/v1/participants").json()["items"]]
    for id_, length in zip(order, (2, 3, 1, 9, 4, 0), strict=True):
        run_steps(store, UUID(id_), length)
    pages = [[row["participant_id"] for row in rows] for rows in rows_of(acme, study, "transcripts")]
    assert pages == [order[:2], order[2:3], order[3:4], order[4:]]
    assert len(ids) == 6


# -- likely stuck ------------------------------------------------------------------------------------------


def set_back(store: Store, participant_id: UUID, seconds: float) -> None:
    """As if all that happened to it had happened earlier."""
    earlier = store_clock(-seconds)
    store.write(
        lambda connection: connection.execute(
            update(Tables.event).where(Tables.event.c.participant_id == participant_id).values(at=earlier)
        )
    )


def hint(caller: ApiClient, id_: UUID) -> tuple[bool, str | None]:
    one = caller.get(f"/v1/participants/{id_}").json()
    return one["likely_stuck"], one["stuck_reason"]


def test_a_run_that_is_silent_for_longer_than_a_step_and_a_recovery_is_likely_stuck(
    store: Store, acme: ApiClient
) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id, step_timeout_s=100)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    held = run_steps(store, id_, 1)
    set_back(store, id_, 100)
    assert hint(acme, id_) == (False, None)
    set_back(store, id_, 120)
    stuck, reason = hint(acme, id_)
    assert stuck
    assert "a step may take 100 s" in str(reason)
    (listed,) = acme.get("/v1/participants", study_id=str(study)).json()["items"]
    ((shown,),) = rows_of(acme, study, "per_participant")
    assert listed["likely_stuck"] is shown["likely_stuck"] is True
    assert commit(store, held, 1)
    assert hint(acme, id_) == (False, None), "an interaction shows that it lives"
    set_back(store, id_, 1_000)
    end(store, held, "completed")
    assert hint(acme, id_) == (False, None)


def test_a_step_of_an_ask_may_take_as_long_as_the_ask_says(store: Store, acme: ApiClient) -> None:
    _, ((id_,),) = make_ask(store, acme.workspace_id, rounds=1, each=1, step_timeout_s=100)
    run_steps(store, id_, 1)
    set_back(store, id_, 100)
    assert hint(acme, id_) == (False, None)
    set_back(store, id_, 120)
    assert "a step may take 100 s" in str(hint(acme, id_)[1])


def test_who_waits_while_no_worker_lives_is_likely_stuck(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    assert hint(acme, id_) == (False, None), "it has only just come"
    set_back(store, id_, 30)
    stuck, reason = hint(acme, id_)
    assert (stuck, "no worker has a live lease" in str(reason)) == (True, True)
    make_lease(store)
    assert hint(acme, id_) == (False, None)
    set_back(store, id_, timedelta(minutes=2).total_seconds())
    assert "unpublished" in str(hint(acme, id_)[1]), "nobody has sent its message"
