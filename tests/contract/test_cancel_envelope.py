"""simulation_cancel over HTTP: its envelope, its scopes, its skips. Contract section 3."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tests.contract.lost_commits import UNAVAILABLE, LostCommits
from tests.contract.manual_worker import claim, commit, dump_tables, end, make_run, participant, run_steps, run_to_end
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.parameters import one_store
from tests.servers import serve_in_thread
from understudy.api.app import create_app
from understudy.domain.errors import Conflict
from understudy.domain.lifecycle import Status
from understudy.service import Service
from understudy.settings import Settings
from understudy.store import lifecycle, participants
from understudy.store.engine import Store

CANCEL = "/v1/simulations/cancel"


class World(NamedTuple):
    """A study of two iterations with two participants each, another study, and an ask of two rounds."""

    study: UUID
    iterations: list[UUID]
    by_iteration: list[list[UUID]]
    others: list[UUID]
    ask: UUID
    by_round: list[list[UUID]]


@pytest.fixture
def world(store: Store, acme: ApiClient) -> World:
    study, iterations = make_study(store, acme.workspace_id, iterations=2)
    of_each = [make_participants(store, acme.workspace_id, study, one, 2) for one in iterations]
    _, others = make_run(store, acme)
    ask, by_round = make_ask(store, acme.workspace_id)
    return World(study, iterations, of_each, others, ask, by_round)


def cancel(caller: ApiClient, **scope: Any) -> dict[str, Any]:
    """The envelope of a cancel, with sums that fit its items."""
    answer = caller.http.post(CANCEL, content=json.dumps(scope, default=str))
    assert answer.status_code == 200, answer.text
    envelope: dict[str, Any] = answer.json()
    items, skipped, summary = envelope["cancelled"], envelope["skipped"], envelope["summary"]
    failed_count = sum(not item["success"] for item in items)
    assert summary == {
        "total": len(items) + len(skipped),
        "cancelled_count": len(items) - failed_count,
        "skipped_count": len(skipped),
    } | ({"failed_count": failed_count} if failed_count else {})
    return envelope


def ids_of(items: Sequence[dict[str, Any]]) -> list[str]:
    return [item["participant_id"] for item in items]


def envelope_of(*, cancelled: Sequence[object] = (), skipped: Sequence[object] = ()) -> dict[str, Any]:
    """The whole answer when no cancel fails and every skipped participant is terminal."""
    counts = {"cancelled_count": len(cancelled), "skipped_count": len(skipped)}
    return {
        "cancelled": [{"participant_id": str(id_), "success": True, "status": "cancelled"} for id_ in cancelled],
        "skipped": [{"participant_id": str(id_), "reason": "already_terminal"} for id_ in skipped],
        "summary": {"total": len(cancelled) + len(skipped)} | counts,
    }


def test_both_endpoints_answer_the_documented_envelope(store: Store, acme: ApiClient) -> None:
    _, (first, second) = make_run(store, acme, 2)
    own_endpoint = f"/v1/participants/{participant(store, second)['alias']}/cancel"
    assert cancel(acme, participant_id=first) == envelope_of(cancelled=[first])
    assert acme.post(own_endpoint).json() == envelope_of(cancelled=[second])
    assert acme.post(own_endpoint, {}).json() == envelope_of(skipped=[second])


# -- scopes ------------------------------------------------------------------------------------------------

SCOPES: dict[str, Callable[[World], tuple[dict[str, Any], list[UUID]]]] = {
    "participant": lambda w: ({"participant_id": w.by_iteration[0][1]}, [w.by_iteration[0][1]]),
    "study": lambda w: ({"study_id": w.study}, [*w.by_iteration[0], *w.by_iteration[1]]),
    "iteration": lambda w: ({"iteration_id": w.iterations[1]}, w.by_iteration[1]),
    "ask": lambda w: ({"ask_id": w.ask}, [*w.by_round[0], *w.by_round[1]]),
    "round": lambda w: ({"ask_id": w.ask, "round": 2}, w.by_round[1]),
}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_reaches_exactly_its_participants(store: Store, acme: ApiClient, world: World, scope: str) -> None:
    given, expected = SCOPES[scope](world)
    envelope = cancel(acme, **given)
    assert set(ids_of(envelope["cancelled"])) == {str(id_) for id_ in expected}
    everyone = [*world.by_iteration, world.others, *world.by_round]
    cancelled = {id_ for some in everyone for id_ in some if participant(store, id_)["status"] == Status.CANCELLED}
    assert cancelled == set(expected)


def test_an_alias_names_a_scope_as_well_as_a_uuid_does(acme: ApiClient, world: World) -> None:
    one = acme.get(f"/v1/participants/{world.others[0]}").json()
    study = acme.get(f"/v1/studies/{world.study}", view="full").json()
    assert cancel(acme, participant_id=f"p{one['alias']}") == envelope_of(cancelled=world.others)
    assert cancel(acme, iteration_id=study["iterations"][0]["alias"])["summary"]["cancelled_count"] == 2
    assert cancel(acme, study_id=study["alias"])["summary"] == {"total": 4, "cancelled_count": 2, "skipped_count": 2}


def test_a_scope_without_participants_gives_empty_lists_and_zeros(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    ask, _ = make_ask(store, acme.workspace_id, rounds=1, each=0)
    scopes = ({"study_id": study}, {"iteration_id": iteration}, {"ask_id": ask}, {"ask_id": ask, "round": 1})
    assert [cancel(acme, **scope) for scope in scopes] == [envelope_of()] * 4


# -- skips and repetition ----------------------------------------------------------------------------------


def test_terminal_participants_and_drafts_are_skipped_each_with_its_reason(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    *terminal, running, pending = make_participants(store, acme.workspace_id, study, iteration, 5)
    (draft,) = make_participants(store, acme.workspace_id, study, iteration, status=Status.DRAFT)
    for id_, status in zip(terminal, ("completed", "failed", "cancelled"), strict=True):
        run_to_end(store, id_, 1, status)
    run_steps(store, running, 1)
    before = [participant(store, id_) for id_ in (*terminal, draft)]
    envelope = cancel(acme, study_id=study)
    assert {one["participant_id"]: one["reason"] for one in envelope["skipped"]} == {
        **{str(id_): "already_terminal" for id_ in terminal},
        str(draft): "not_dispatched",
    }
    assert set(ids_of(envelope["cancelled"])) == {str(running), str(pending)}
    assert [participant(store, id_) for id_ in (*terminal, draft)] == before


def test_a_repeated_cancel_skips_all_and_changes_nothing(store: Store, acme: ApiClient, world: World) -> None:
    first = cancel(acme, study_id=world.study)
    before = dump_tables(store)
    again = cancel(acme, study_id=world.study)
    assert again["cancelled"] == []
    assert ids_of(again["skipped"]) == ids_of(first["cancelled"])
    assert dump_tables(store) == before


def test_items_come_in_the_order_of_creation_over_several_transactions(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.service.cancel.CANCEL_BATCH_SIZE", 2)
    study, ids = make_run(store, acme, 7)
    run_to_end(store, ids[2], 1)
    listed = [one["id"] for one in acme.get("/v1/participants").json()["items"] if one["id"] != str(ids[2])]
    assert ids_of(cancel(acme, study_id=study)["cancelled"]) == listed


def test_many_cancels_at_once_cancel_each_participant_once(store: Store, acme: ApiClient) -> None:
    study, _ = make_run(store, acme, 20)
    with ThreadPoolExecutor(4) as pool:
        envelopes = list(pool.map(lambda _: cancel(acme, study_id=study), range(4)))
    assert [envelope["summary"]["total"] for envelope in envelopes] == [20] * 4
    assert sum(envelope["summary"]["cancelled_count"] for envelope in envelopes) == 20


# -- races with workers ------------------------------------------------------------------------------------


def test_a_cancelled_run_keeps_its_interactions_and_stores_no_more(store: Store, acme: ApiClient) -> None:
    _, (one,) = make_run(store, acme)
    held = run_steps(store, one, 2)
    cancel(acme, participant_id=one)
    assert not commit(store, held, 2)
    read = acme.get(f"/v1/participants/{one}").json()
    assert (read["status"], read["interaction_count"], read["outcome"]) == ("cancelled", 2, None)
    assert (read["stopped_at"], read["finished_at"] is None) == (None, False)
    assert len(acme.get(f"/v1/participants/{one}/interactions").json()["items"]) == 2
    assert len(acme.get(f"/v1/participants/{one}/transcript").json()["items"]) == 5


def after_reading_the_scope(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Call `change` between the read of the candidates and their cancel."""
    read = participants.cancel_candidates

    def read_then_change(connection: Connection, *scope: Any) -> Any:
        found = read(connection, *scope)
        change()
        return found

    monkeypatch.setattr(participants, "cancel_candidates", read_then_change)


def test_a_participant_that_ends_after_the_scope_was_read_is_skipped(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, (quick, slow) = make_run(store, acme, 2)
    held = run_steps(store, quick, 1)
    after_reading_the_scope(monkeypatch, lambda: end(store, held, "completed"))
    assert cancel(acme, study_id=study) == envelope_of(cancelled=[slow], skipped=[quick])
    assert participant(store, quick)["outcome"] == "gave_up"


def test_a_participant_that_is_claimed_after_the_scope_was_read_is_cancelled(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (pending,) = make_run(store, acme)
    after_reading_the_scope(monkeypatch, lambda: claim(store, pending))
    assert cancel(acme, participant_id=pending) == envelope_of(cancelled=[pending])
    assert participant(store, pending)["status"] == Status.CANCELLED


def test_a_cancel_leaves_the_status_of_the_study_alone(acme: ApiClient, world: World) -> None:
    before = acme.get(f"/v1/studies/{world.study}", view="full").json()
    cancel(acme, study_id=world.study)
    assert acme.get(f"/v1/studies/{world.study}", view="full").json() == before


# -- failures ----------------------------------------------------------------------------------------------


def fail_for(monkeypatch: pytest.MonkeyPatch, error: Exception, fails: Callable[[Sequence[UUID]], bool]) -> None:
    """Have the store's cancel raise `error` if `fails` is true for the ids of the call."""
    real = lifecycle.cancel

    def cancel_or_fail(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
        if fails(ids):
            raise error
        return real(connection, workspace_id, ids)

    monkeypatch.setattr(lifecycle, "cancel", cancel_or_fail)


@one_store
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Conflict("It is being moved."), "[conflict] It is being moved."),
        (UNAVAILABLE, "[service_unavailable] The store does not answer."),
        (
            IntegrityError("UPDATE participant SET …", {}, Exception("/srv/secret.db")),
            "[server_error] The cancel failed. See the server log.",
        ),
    ],
    ids=["conflict", "unavailable", "database error"],
)
def test_a_cancel_that_fails_is_reported_in_its_item_and_never_stops_the_others(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    study, ids = make_run(store, acme, 4)
    with monkeypatch.context() as patched:
        fail_for(patched, error, lambda asked: ids[1] in asked)
        envelope = cancel(acme, study_id=study)
    assert envelope["summary"] == {"total": 4, "cancelled_count": 3, "skipped_count": 0, "failed_count": 1}
    (failed,) = [item for item in envelope["cancelled"] if not item["success"]]
    assert failed == {"participant_id": str(ids[1]), "success": False, "status": status}
    assert participant(store, ids[1])["status"] == Status.PENDING
    assert ids_of(cancel(acme, study_id=study)["cancelled"]) == [str(ids[1])]


@one_store
@pytest.mark.parametrize(
    ("error", "fails_for", "cancelled"),
    [
        (UNAVAILABLE, lambda asked, _: len(asked) > 1, 8),
        (UNAVAILABLE, lambda asked, first: asked != [first], 1),
        (Conflict("Not now."), lambda *_: True, 0),
    ],
    ids=["batch", "all but the first", "all"],
)
def test_a_batch_that_fails_is_repeated_one_by_one(
    store: Store,
    acme: ApiClient,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    fails_for: Callable[[list[UUID], UUID], bool],
    cancelled: int,
) -> None:
    study, ids = make_run(store, acme, 8)
    fail_for(monkeypatch, error, lambda asked: fails_for(list(asked), min(ids)))
    assert [item["success"] for item in cancel(acme, study_id=study)["cancelled"]].count(True) == cancelled


class LosingServer:
    """A server with a store that loses commits; it records the ids of every abort, stop task and notification."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = create_app(settings)
        self.aborts: list[UUID] = []
        self.stops: list[UUID] = []
        self.notifications: list[UUID] = []
        service: Service = self.app.state.service
        self.lost = LostCommits(service.store, monkeypatch)
        monkeypatch.setattr(service.publisher, "enqueue_aborts", self.aborts.extend)
        monkeypatch.setattr(service.publisher, "enqueue_stop_tasks", self.stops.extend)
        monkeypatch.setattr(service.notifier, "enqueue", self.notifications.extend)

    def cancel(self, caller: ApiClient, study: UUID) -> httpx.Response:
        with serve_in_thread(self.app) as here:
            return caller.post(f"{here}{CANCEL}", {"study_id": str(study)})

    def announced(self) -> set[UUID]:
        """The participants that got one stop task and one notification each; no other may get an abort."""
        assert sorted(self.stops) == sorted(self.notifications) == sorted({*self.stops, *self.aborts})
        return set(self.stops)


@pytest.fixture
def losing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> LosingServer:
    return LosingServer(settings, monkeypatch)


@pytest.mark.parametrize("lost_commits", [1, 99])
def test_cancels_that_were_committed_when_the_store_was_lost_count_and_are_announced(
    store: Store, acme: ApiClient, losing: LosingServer, lost_commits: int
) -> None:
    study, ids = make_run(store, acme, 5)
    run_to_end(store, ids[4], 1)
    losing.lost.limit = lost_commits
    answer = losing.cancel(acme, study)
    assert answer.json() == envelope_of(cancelled=sorted(ids[:4]), skipped=[ids[4]])
    assert losing.announced() == set(ids[:4])


def test_a_participant_that_completed_when_the_store_was_lost_is_skipped(
    store: Store, acme: ApiClient, losing: LosingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, (quick, slow) = make_run(store, acme, 2)
    real = lifecycle.cancel

    def change_nothing_once(_: Connection, __: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
        monkeypatch.setattr(lifecycle, "cancel", real)
        return dict.fromkeys(ids, True)

    monkeypatch.setattr(lifecycle, "cancel", change_nothing_once)
    held = run_steps(store, quick, 1)
    losing.lost.limit, losing.lost.after_commit = 1, lambda: end(store, held, "completed")
    answer = losing.cancel(acme, study)
    assert answer.json() == envelope_of(cancelled=[slow], skipped=[quick])
    assert losing.announced() == {slow}


@one_store
def test_only_running_participants_get_an_abort(store: Store, acme: ApiClient, losing: LosingServer) -> None:
    study, ids = make_run(store, acme, 4)
    run_steps(store, ids[2], 1)
    assert losing.cancel(acme, study).json()["summary"]["cancelled_count"] == 4
    assert losing.aborts == [ids[2]]
    assert losing.announced() == set(ids)


def test_cancels_that_stay_in_doubt_are_announced(store: Store, acme: ApiClient, losing: LosingServer) -> None:
    study, ids = make_run(store, acme, 5)
    losing.lost.limit, losing.lost.can_read = 99, False
    answer = losing.cancel(acme, study)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "service_unavailable")
    assert losing.announced() == set(losing.aborts) == set(ids)
    assert cancel(acme, study_id=study)["summary"]["skipped_count"] == 5


@one_store
def test_a_participant_whose_cancel_failed_gets_no_stop_task(
    store: Store, acme: ApiClient, losing: LosingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, ids = make_run(store, acme, 3)
    fail_for(monkeypatch, UNAVAILABLE, lambda asked: ids[1] in asked)
    assert losing.cancel(acme, study).json()["summary"]["failed_count"] == 1
    assert losing.announced() == {ids[0], ids[2]}


@one_store
def test_a_cancel_succeeds_while_the_broker_is_unavailable(
    store: Store, acme: ApiClient, api_with: Callable[..., str]
) -> None:
    study, ids = make_run(store, acme, 3)
    run_steps(store, ids[0], 1)
    without_broker = api_with(broker_url="redis://127.0.0.1:1/0")
    answer = acme.post(f"{without_broker}{CANCEL}", {"study_id": str(study)})
    assert answer.json() == envelope_of(cancelled=sorted(ids))
    assert {participant(store, id_)["status"] for id_ in ids} == {"cancelled"}
