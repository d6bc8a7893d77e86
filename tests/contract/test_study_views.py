"""What came of a study: highlights, transcripts and hints, in pages. Contract 6."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from tests.contract.manual_worker import claim, commit, end, make_run, run_steps, run_to_end
from tests.contract.paging import pages
from tests.factories import make_ask, make_lease, make_participants, make_study
from tests.http_client import ApiClient
from tests.parameters import one_store
from understudy.domain.queues import Queue, WorkerKind
from understudy.service import studies
from understudy.store import dispatch
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables


def run_with(store: Store, participant_id: UUID, sentiments: Sequence[float], *, first: int = 0) -> None:
    """A whole run, whose interactions have these sentiments."""
    held = claim(store, participant_id)
    for index, sentiment in enumerate(sentiments, first):
        assert commit(store, held, index, sentiment=sentiment)
    end(store, held, "completed")


def extend(store: Store, workspace_id: UUID, source: UUID, instruction: str | None = None) -> UUID:
    row = store.write(lambda connection: dispatch.insert_branch(connection, workspace_id, source, 10, instruction))
    return row.id


def rows_of(caller: ApiClient, study: UUID, view: str, **params: Any) -> list[list[dict[str, Any]]]:
    """All pages of a view."""
    rows = {"per_participant": "participants", "transcripts": "transcripts"}[view]
    return list(pages(caller, f"/v1/studies/{study}", rows=rows, view=view, **params))


def highlights(caller: ApiClient, study: UUID) -> dict[str, tuple[str | None, int | None, float | None]]:
    (rows,) = rows_of(caller, study, "per_participant")
    return {row["id"]: (row["highlight"], row["highlight_index"], row["highlight_sentiment"]) for row in rows}


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
def test_the_highlight_is_the_strongest_sentiment_and_the_latest_of_equals(
    store: Store, acme: ApiClient, sentiments: list[float], strongest: int
) -> None:
    study, (id_,) = make_run(store, acme)
    run_with(store, id_, sentiments)
    assert highlights(acme, study) == {str(id_): (f"Thought {strongest}", strongest, sentiments[strongest])}


def test_a_highlight_covers_the_lineage_of_its_participant(store: Store, acme: ApiClient) -> None:
    study, (source, calm, silent) = make_run(store, acme, 3)
    run_with(store, source, [0.1, -0.8])
    run_with(store, calm, [0.05])
    child = extend(store, acme.workspace_id, source)
    run_with(store, child, [0.4, 0.3], first=2)
    grandchild = extend(store, acme.workspace_id, child)
    run_with(store, grandchild, [0.9], first=4)
    waiting = extend(store, acme.workspace_id, child)
    assert highlights(acme, study) == {
        str(source): ("Thought 1", 1, -0.8),
        str(calm): ("Thought 0", 0, 0.05),
        str(silent): (None, None, None),
        str(child): ("Thought 1", 1, -0.8),
        str(grandchild): ("Thought 4", 4, 0.9),
        str(waiting): ("Thought 1", 1, -0.8),
    }


@pytest.mark.parametrize(("view", "name"), [("per_participant", "id"), ("transcripts", "participant_id")])
def test_views_with_participants_come_in_pages_without_gap_or_double(
    store: Store, acme: ApiClient, view: str, name: str
) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    ids = make_participants(store, acme.workspace_id, study, iteration, 5)
    run_to_end(store, ids[0], 2)
    make_run(store, acme, 3)
    found = [[row[name] for row in rows] for rows in rows_of(acme, study, view, limit=2)]
    assert [len(page) for page in found] == [2, 2, 1]
    assert {id_ for page in found for id_ in page} == {str(id_) for id_ in ids}
    summary = acme.get(f"/v1/studies/{study}").json()
    page = acme.get(f"/v1/studies/{study}", view=view, limit=1).json()
    assert {field: page[field] for field in summary} == summary, "the counts are of all, not of the page"
    make_participants(store, acme.workspace_id, study, iteration, 60)
    assert [len(rows) for rows in rows_of(acme, study, view)] == [50, 15]


@one_store
@pytest.mark.parametrize("view", [{}, {"view": "full"}], ids=str)
@pytest.mark.parametrize("parameter", ["limit", "cursor"])
def test_a_view_without_pages_takes_neither_cursor_nor_limit(
    store: Store, acme: ApiClient, view: dict[str, str], parameter: str
) -> None:
    study, _ = make_run(store, acme, 2)
    path = f"/v1/studies/{study}"
    page = acme.get(path, view="per_participant", limit=1).json()
    answer = acme.get(path, **view, **{parameter: 5 if parameter == "limit" else page["next_cursor"]})
    assert (answer.status_code, "per_participant" in answer.json()["error"]) == (422, True)


def test_transcripts_are_those_of_each_participant(store: Store, acme: ApiClient) -> None:
    study, (source, waiting) = make_run(store, acme, 2)
    run_to_end(store, source, 2)
    child = extend(store, acme.workspace_id, source, "Switch to German.")
    run_to_end(store, child, 1, "failed")
    (rows,) = rows_of(acme, study, "transcripts")

    def expected(id_: UUID) -> dict[str, Any]:
        one = acme.get(f"/v1/participants/{id_}").json()
        items = acme.get(f"/v1/participants/{id_}/transcript").json()["items"]
        shown = {name: one[name] for name in ("alias", "person_name", "status", "outcome")}
        return shown | {"participant_id": str(id_), "items": items}

    by_id = {row["participant_id"]: row for row in rows}
    assert by_id == {str(id_): by_id[str(id_)] | expected(id_) for id_ in (source, waiting, child)}
    roles = {id_: [item["role"] for item in row["items"]] for id_, row in by_id.items()}
    assert roles[str(waiting)] == ["system"]
    assert roles[str(child)] == ["system", *["environment", "person"] * 2, "user", "environment", "person"]


@one_store
def test_a_page_of_long_transcripts_has_fewer_of_them(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "MAX_TRANSCRIPT_INTERACTIONS", 5)
    study, _ = make_run(store, acme, 6, max_interactions=20)
    order = [row["id"] for row in acme.get("/v1/participants").json()["items"]]
    for id_, length in zip(order, (2, 3, 1, 9, 4, 0), strict=True):
        run_steps(store, UUID(id_), length)
    found = [[row["participant_id"] for row in rows] for rows in rows_of(acme, study, "transcripts")]
    assert found == [order[:2], order[2:3], order[3:4], order[4:]]


def age(store: Store, participant_id: UUID, seconds: float) -> None:
    """Move the participant's events into the past."""
    earlier = store_clock(-seconds)
    store.write(
        lambda connection: connection.execute(
            update(Tables.event).where(Tables.event.c.participant_id == participant_id).values(at=earlier)
        )
    )


def hint(caller: ApiClient, id_: UUID) -> tuple[bool, str | None]:
    one = caller.get(f"/v1/participants/{id_}").json()
    return one["likely_stuck"], one["stuck_reason"]


def test_a_run_without_events_for_longer_than_a_step_and_a_recovery_is_likely_stuck(
    store: Store, acme: ApiClient
) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id, step_timeout_s=100)
    (id_,) = make_participants(store, acme.workspace_id, study, iteration)
    held = run_steps(store, id_, 1)
    age(store, id_, 100)
    assert hint(acme, id_) == (False, None)
    age(store, id_, 120)
    stuck, reason = hint(acme, id_)
    assert (stuck, "a step may take 100 s" in str(reason)) == (True, True)
    (listed,) = acme.get("/v1/participants", study_id=str(study)).json()["items"]
    ((shown,),) = rows_of(acme, study, "per_participant")
    assert listed["likely_stuck"] is shown["likely_stuck"] is True
    assert commit(store, held, 1)
    assert hint(acme, id_) == (False, None), "an interaction shows that it lives"
    age(store, id_, 1_000)
    end(store, held, "completed")
    assert hint(acme, id_) == (False, None)


def test_the_step_timeout_of_an_ask_counts_for_its_participants(store: Store, acme: ApiClient) -> None:
    _, ((id_,),) = make_ask(store, acme.workspace_id, rounds=1, each=1, step_timeout_s=100)
    run_steps(store, id_, 1)
    age(store, id_, 120)
    assert "a step may take 100 s" in str(hint(acme, id_)[1])


def test_a_pending_participant_without_a_live_worker_is_likely_stuck(store: Store, acme: ApiClient) -> None:
    _, (id_,) = make_run(store, acme)
    make_lease(store, kind=WorkerKind.CONTROL)
    make_lease(store, kind=WorkerKind.QUARANTINE)
    assert hint(acme, id_) == (False, None), "it was dispatched just now"
    age(store, id_, 30)
    assert "No run worker has a live lease. Start one: `understudy worker`." in str(hint(acme, id_)[1])
    make_lease(store)
    assert hint(acme, id_) == (False, None)
    age(store, id_, 120)
    assert "unpublished" in str(hint(acme, id_)[1])


def test_a_quarantined_participant_without_a_quarantine_worker_is_likely_stuck(store: Store, acme: ApiClient) -> None:
    _, (id_,) = make_run(store, acme)
    quarantined = update(Tables.participant).where(Tables.participant.c.id == id_).values(queue=str(Queue.QUARANTINE))
    store.write(lambda connection: connection.execute(quarantined))
    make_lease(store)
    age(store, id_, 30)
    assert "No quarantine worker has a live lease. Start one: `understudy worker --quarantine`." in str(
        hint(acme, id_)[1]
    )
    answer = acme.post("/v1/simulations/wait", {"participant_ids": [str(id_)], "timeout": 0.1}).json()
    assert "No quarantine worker has a live lease." in answer["next_action"]["why"]
    make_lease(store, kind=WorkerKind.QUARANTINE)
    assert hint(acme, id_) == (False, None)
    answer = acme.post("/v1/simulations/wait", {"participant_ids": [str(id_)], "timeout": 0.1}).json()
    assert answer["next_action"]["why"] == "1 of 1 participants are not terminal yet."


def test_a_cancelled_participant_without_a_control_worker_is_likely_stuck_until_its_stop_is_recorded(
    store: Store, acme: ApiClient
) -> None:
    _, (id_,) = make_run(store, acme)
    run_steps(store, id_, 1)
    assert acme.post("/v1/simulations/cancel", {"participant_id": str(id_)}).json()["summary"]["cancelled_count"] == 1
    assert hint(acme, id_) == (False, None)
    age(store, id_, 30)
    assert "No control worker has a live lease. Start one: `understudy worker --control`." in str(hint(acme, id_)[1])
    make_lease(store, kind=WorkerKind.CONTROL)
    assert hint(acme, id_) == (False, None)


def test_readiness_names_the_kinds_of_worker_that_are_missing(store: Store, acme: ApiClient) -> None:
    make_lease(store)
    # A lease of the previous version.
    unknown = update(Tables.lease).values(kind=None, slots=None)
    store.write(lambda connection: connection.execute(unknown))
    make_lease(store, kind=WorkerKind.CONTROL)
    answer = acme.get("/readyz")
    assert (answer.status_code, answer.json()["status"], answer.json()["workers"]) == (200, "ok", 1)
    assert answer.json()["worker_kinds"] == {"run": 1, "quarantine": 0, "control": 1}
    assert answer.json()["problems"] == [
        "No quarantine worker has a live lease. Start one: `understudy worker --quarantine`."
    ]
