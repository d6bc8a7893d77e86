"""simulation_cancel over HTTP: its envelope, its scopes, its skips. Contract section 3."""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tests.contract.manual_worker import claim, commit, dump_tables, end, participant, run_steps, run_to_end
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import serve_in_thread
from understudy.api.app import create_app
from understudy.domain.errors import Conflict, ServiceUnavailable
from understudy.domain.lifecycle import Status
from understudy.service import Service
from understudy.settings import Settings
from understudy.store import lifecycle, participants
from understudy.store.engine import Store

CANCEL = "/v1/simulations/cancel"
AWAY = ServiceUnavailable("The store does not answer.")


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
    other_study, (other,) = make_study(store, acme.workspace_id)
    others = make_participants(store, acme.workspace_id, other_study, other)
    ask, by_round = make_ask(store, acme.workspace_id)
    return World(study, iterations, of_each, others, ask, by_round)


def make_some(store: Store, caller: ApiClient, count: int, status: Status = Status.PENDING) -> list[UUID]:
    study, (iteration,) = make_study(store, caller.workspace_id)
    return make_participants(store, caller.workspace_id, study, iteration, count, status=status)


def study_of(store: Store, id_: UUID) -> str:
    return str(participant(store, id_)["study_id"])


def cancel(caller: ApiClient, **scope: Any) -> dict[str, Any]:
    """The envelope, whose sums are right."""
    answer = caller.post(CANCEL, scope)
    assert answer.status_code == 200, answer.text
    envelope: dict[str, Any] = answer.json()
    items, skipped, summary = envelope["cancelled"], envelope["skipped"], envelope["summary"]
    succeeded = sum(item["success"] for item in items)
    assert summary == {
        "total": len(items) + len(skipped),
        "cancelled_count": succeeded,
        "skipped_count": len(skipped),
    } | ({"failed_count": len(items) - succeeded} if len(items) > succeeded else {})
    return envelope


def ids_of(items: Sequence[dict[str, Any]]) -> list[str]:
    return [item["participant_id"] for item in items]


def test_the_answer_has_the_documented_shape(store: Store, acme: ApiClient) -> None:
    (one,) = make_some(store, acme, 1)
    answer = acme.post(CANCEL, {"participant_id": str(one)})
    assert answer.status_code == 200
    assert answer.json() == {
        "cancelled": [{"participant_id": str(one), "success": True, "status": "cancelled"}],
        "skipped": [],
        "summary": {"total": 1, "cancelled_count": 1, "skipped_count": 0},
    }


# -- scopes ------------------------------------------------------------------------------------------------

SCOPES: dict[str, Callable[[World], tuple[dict[str, Any], list[UUID]]]] = {
    "participant": lambda w: ({"participant_id": str(w.by_iteration[0][1])}, [w.by_iteration[0][1]]),
    "study": lambda w: ({"study_id": str(w.study)}, [*w.by_iteration[0], *w.by_iteration[1]]),
    "iteration": lambda w: ({"iteration_id": str(w.iterations[1])}, w.by_iteration[1]),
    "ask": lambda w: ({"ask_id": str(w.ask)}, [*w.by_round[0], *w.by_round[1]]),
    "round": lambda w: ({"ask_id": str(w.ask), "round": 2}, w.by_round[1]),
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
    assert ids_of(cancel(acme, participant_id=f"p{one['alias']}")["cancelled"]) == [one["id"]]
    study = acme.get(f"/v1/studies/{world.study}", view="full").json()
    assert cancel(acme, iteration_id=study["iterations"][0]["alias"])["summary"]["cancelled_count"] == 2
    assert cancel(acme, study_id=study["alias"])["summary"] == {
        "total": 4,
        "cancelled_count": 2,
        "skipped_count": 2,
    }


def test_null_counts_as_unset(acme: ApiClient, world: World) -> None:
    given = {"study_id": None, "participant_id": None, "iteration_id": None, "round": None}
    assert cancel(acme, ask_id=str(world.ask), **given)["summary"]["cancelled_count"] == 4


def test_a_scope_without_participants_gives_empty_lists_and_zeros(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    ask, _ = make_ask(store, acme.workspace_id, rounds=1, each=0)
    for scope in (
        {"study_id": str(study)},
        {"iteration_id": str(iteration)},
        {"ask_id": str(ask)},
        {"ask_id": str(ask), "round": 1},
    ):
        assert cancel(acme, **scope) == {
            "cancelled": [],
            "skipped": [],
            "summary": {"total": 0, "cancelled_count": 0, "skipped_count": 0},
        }


def test_exactly_one_scope_is_checked_before_anything_is_read(store: Store, acme: ApiClient, world: World) -> None:
    before, nobody = dump_tables(store), str(uuid4())
    for wrong in (
        {},
        {"study_id": None},
        {"study_id": nobody, "participant_id": nobody},
        {"participant_id": nobody, "study_id": nobody, "iteration_id": nobody, "ask_id": nobody},
        {"round": 1},
        {"study_id": nobody, "round": 1},
        {"participant_id": nobody, "round": 1},
        {"ask_id": nobody, "round": 0},
        {"ask_id": nobody, "round": -1},
    ):
        answer = acme.post(CANCEL, wrong)
        assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error"), wrong
    assert dump_tables(store) == before


def test_a_round_beyond_the_last_is_not_found_and_the_error_says_how_many_there_are(
    store: Store, acme: ApiClient, world: World
) -> None:
    before = dump_tables(store)
    answer = acme.post(CANCEL, {"ask_id": str(world.ask), "round": 3})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "not_found")
    assert "has 2" in answer.json()["error"]
    assert dump_tables(store) == before


def test_an_unknown_scope_is_not_found_and_a_malformed_one_or_another_kinds_is_refused(
    acme: ApiClient,
) -> None:
    aliases = {"participant_id": "t-abc", "study_id": "s-abc", "iteration_id": "i-abc", "ask_id": "a-abc"}
    for parameter, alias in aliases.items():
        for unknown in (str(uuid4()), alias):
            assert acme.post(CANCEL, {parameter: unknown}).status_code == 404, (parameter, unknown)
        other_kinds = {*aliases.values(), "w-abc", "tp-abc"} - {alias}
        for wrong in (*other_kinds, "", "x", alias[:4], alias.upper(), alias.replace("-", "_"), "0" * 32):
            assert acme.post(CANCEL, {parameter: wrong}).status_code == 422, (parameter, wrong)


# -- skips and repetition ----------------------------------------------------------------------------------


def test_terminal_ones_and_drafts_are_skipped_each_with_its_reason(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    ids = make_participants(store, acme.workspace_id, study, iteration, 5)
    drafts = make_participants(store, acme.workspace_id, study, iteration, status=Status.DRAFT)
    for id_, status in zip(ids, ("completed", "failed", "cancelled"), strict=False):
        run_to_end(store, id_, 1, status)
    run_steps(store, ids[3], 1)
    before = [participant(store, id_) for id_ in (*ids[:3], *drafts)]
    envelope = cancel(acme, study_id=str(study))
    assert {one["participant_id"]: one["reason"] for one in envelope["skipped"]} == {
        **{str(id_): "already_terminal" for id_ in ids[:3]},
        str(drafts[0]): "not_dispatched",
    }
    assert set(ids_of(envelope["cancelled"])) == {str(ids[3]), str(ids[4])}
    assert [participant(store, id_) for id_ in (*ids[:3], *drafts)] == before


def test_a_repeated_cancel_skips_all_and_changes_nothing(store: Store, acme: ApiClient, world: World) -> None:
    first = cancel(acme, study_id=str(world.study))
    before = dump_tables(store)
    again = cancel(acme, study_id=str(world.study))
    assert again["cancelled"] == []
    assert ids_of(again["skipped"]) == ids_of(first["cancelled"])
    assert dump_tables(store) == before


def test_items_come_in_the_order_of_creation_however_many_transactions_it_takes(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.service.cancel.CANCEL_BATCH_SIZE", 2)
    ids = make_some(store, acme, 7)
    run_to_end(store, ids[2], 1)
    study = study_of(store, ids[0])
    listed = ids_of([{"participant_id": one["id"]} for one in acme.get("/v1/participants").json()["items"]])
    envelope = cancel(acme, study_id=study)
    assert ids_of(envelope["cancelled"]) == [id_ for id_ in listed if id_ != str(ids[2])]


def test_many_cancels_at_once_cancel_each_participant_once(store: Store, acme: ApiClient) -> None:
    study = study_of(store, make_some(store, acme, 20)[0])
    with ThreadPoolExecutor(4) as pool:
        envelopes = list(pool.map(lambda _: cancel(acme, study_id=study), range(4)))
    assert [envelope["summary"]["total"] for envelope in envelopes] == [20] * 4
    assert sum(envelope["summary"]["cancelled_count"] for envelope in envelopes) == 20


# -- final when answered -----------------------------------------------------------------------------------


def test_nothing_is_stored_for_a_running_one_after_the_answer_and_what_was_stored_stays(
    store: Store, acme: ApiClient
) -> None:
    (one,) = make_some(store, acme, 1)
    held = run_steps(store, one, 2)
    cancel(acme, participant_id=str(one))
    assert not commit(store, held, 2)
    read = acme.get(f"/v1/participants/{one}").json()
    assert (read["status"], read["interaction_count"], read["outcome"]) == ("cancelled", 2, None)
    assert (read["stopped_at"], read["finished_at"] is None) == (None, False)
    assert len(acme.get(f"/v1/participants/{one}/interactions").json()["items"]) == 2
    assert len(acme.get(f"/v1/participants/{one}/transcript").json()["items"]) == 5


def test_who_becomes_terminal_while_we_look_is_skipped(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow = make_some(store, acme, 2)
    held = run_steps(store, quick, 1)
    read = participants.cancel_candidates

    def read_then_it_ends(connection: Connection, *scope: Any) -> Any:
        found = read(connection, *scope)
        end(store, held, "completed")
        return found

    monkeypatch.setattr(participants, "cancel_candidates", read_then_it_ends)
    envelope = cancel(acme, study_id=study_of(store, quick))
    assert envelope["skipped"] == [{"participant_id": str(quick), "reason": "already_terminal"}]
    assert ids_of(envelope["cancelled"]) == [str(slow)]
    assert participant(store, quick)["outcome"] == "gave_up"


def test_who_is_claimed_while_we_look_is_cancelled_all_the_same(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pending,) = make_some(store, acme, 1)
    read = participants.cancel_candidates

    def read_then_it_is_claimed(connection: Connection, *scope: Any) -> Any:
        found = read(connection, *scope)
        claim(store, pending)
        return found

    monkeypatch.setattr(participants, "cancel_candidates", read_then_it_is_claimed)
    assert ids_of(cancel(acme, participant_id=str(pending))["cancelled"]) == [str(pending)]
    assert participant(store, pending)["status"] == Status.CANCELLED


def test_a_studys_own_status_is_not_touched(acme: ApiClient, world: World) -> None:
    before = acme.get(f"/v1/studies/{world.study}", view="full").json()
    cancel(acme, study_id=str(world.study))
    assert acme.get(f"/v1/studies/{world.study}", view="full").json() == before


# -- failures ----------------------------------------------------------------------------------------------


def fail_for(monkeypatch: pytest.MonkeyPatch, error: Exception, fails: Callable[[Sequence[UUID]], bool]) -> None:
    """Have the store's cancel raise `error` whenever `fails` says so of the ids it is asked for."""
    real = lifecycle.cancel

    def cancel_or_fail(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
        if fails(ids):
            raise error
        return real(connection, workspace_id, ids)

    monkeypatch.setattr(lifecycle, "cancel", cancel_or_fail)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Conflict("It is being moved."), "[conflict] It is being moved."),
        (AWAY, "[service_unavailable] The store does not answer."),
        (
            IntegrityError("UPDATE participant SET …", {}, Exception("/srv/secret.db")),
            "[server_error] The cancel failed. See the server log.",
        ),
    ],
    ids=["conflict", "away", "store"],
)
def test_a_failure_of_one_fills_its_item_and_never_stops_the_others(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    ids = make_some(store, acme, 4)
    study = study_of(store, ids[0])
    with monkeypatch.context() as patched:
        fail_for(patched, error, lambda asked: ids[1] in asked)
        envelope = cancel(acme, study_id=study)
    assert envelope["summary"] == {"total": 4, "cancelled_count": 3, "skipped_count": 0, "failed_count": 1}
    (failed,) = [item for item in envelope["cancelled"] if not item["success"]]
    assert failed == {"participant_id": str(ids[1]), "success": False, "status": status}
    assert participant(store, ids[1])["status"] == Status.PENDING
    assert ids_of(cancel(acme, study_id=study)["cancelled"]) == [str(ids[1])]


def test_a_chunk_that_fails_is_repeated_one_by_one(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(store, make_some(store, acme, 5)[0])
    fail_for(monkeypatch, AWAY, lambda asked: len(asked) > 1)
    assert cancel(acme, study_id=study)["summary"] == {"total": 5, "cancelled_count": 5, "skipped_count": 0}


def test_a_failure_of_the_only_one_is_still_an_envelope(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = make_some(store, acme, 1)
    fail_for(monkeypatch, Conflict("Not now."), lambda _: True)
    assert cancel(acme, participant_id=str(one))["cancelled"] == [
        {"participant_id": str(one), "success": False, "status": "[conflict] Not now."}
    ]


def test_the_store_wholly_away_is_service_unavailable_for_the_call(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = make_some(store, acme, 6)
    fail_for(monkeypatch, AWAY, lambda _: True)
    answer = acme.post(CANCEL, {"study_id": study_of(store, ids[0])})
    assert answer.status_code == 503
    assert (answer.json()["error_code"], answer.json()["retryable"]) == ("service_unavailable", True)


def test_the_store_away_for_some_is_told_in_their_items(
    store: Store, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = make_some(store, acme, 8)
    first = min(ids)
    fail_for(monkeypatch, AWAY, lambda asked: list(asked) != [first])
    summary = cancel(acme, study_id=study_of(store, first))["summary"]
    assert (summary["cancelled_count"], summary["failed_count"]) == (1, 7)


class Shaky:
    """A server whose store is lost right after a commit, and a record of who was told what."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = create_app(settings)
        #: How many commits come to nobody's ears from now on; and whether the rows can be asked then.
        self.lost_answers = 0
        self.rows_can_be_asked = True
        self.then: Callable[[], object] = lambda: None
        self.told: dict[str, list[UUID]] = {"abort": [], "stop": [], "notice": []}
        service: Service = self.app.state.service
        write, read = service.store.write, service.store.read
        lost = False

        def write_and_lose(work: Callable[[Connection], Any]) -> Any:
            nonlocal lost
            done = write(work)
            if self.lost_answers:
                self.lost_answers -= 1
                lost = True
                self.then()
                raise AWAY
            return done

        def read_or_not() -> Any:
            if lost and not self.rows_can_be_asked:
                raise AWAY
            return read()

        monkeypatch.setattr(service.store, "write", write_and_lose)
        monkeypatch.setattr(service.store, "read", read_or_not)
        monkeypatch.setattr(service.publisher, "enqueue_aborts", self.told["abort"].extend)
        monkeypatch.setattr(service.publisher, "enqueue_stop_tasks", self.told["stop"].extend)
        notifier = SimpleNamespace(enqueue=self.told["notice"].extend, close=service.notifier.close)
        self.app.state.service = dataclasses.replace(service, notifier=notifier)

    def told_of(self) -> set[UUID]:
        """Who was told of, once to each who listens; nobody else is aborted."""
        (once,) = {tuple(sorted(self.told[way])) for way in ("stop", "notice")}
        assert len(set(once)) == len(once)
        assert set(self.told["abort"]) <= set(once)
        return set(once)


@pytest.fixture
def shaky(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Shaky:
    return Shaky(settings, monkeypatch)


@pytest.mark.parametrize("lost_answers", [1, 99])
def test_what_was_committed_when_the_store_was_lost_is_cancelled_and_told(
    store: Store, acme: ApiClient, shaky: Shaky, lost_answers: int
) -> None:
    ids = make_some(store, acme, 5)
    run_to_end(store, ids[4], 1)
    shaky.lost_answers = lost_answers
    with serve_in_thread(shaky.app) as here:
        answer = acme.post(f"{here}{CANCEL}", {"study_id": study_of(store, ids[0])})
    assert answer.status_code == 200, answer.text
    assert answer.json()["summary"] == {"total": 5, "cancelled_count": 4, "skipped_count": 1}
    assert {item["status"] for item in answer.json()["cancelled"]} == {"cancelled"}
    assert shaky.told_of() == set(ids[:4])


def test_who_ended_otherwise_when_the_store_was_lost_is_skipped(
    store: Store, acme: ApiClient, shaky: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow = make_some(store, acme, 2)
    real = lifecycle.cancel

    def nothing_happens(_: Connection, __: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
        monkeypatch.setattr(lifecycle, "cancel", real)
        return dict.fromkeys(ids, True)

    monkeypatch.setattr(lifecycle, "cancel", nothing_happens)
    held = run_steps(store, quick, 1)
    shaky.then = lambda: end(store, held, "completed")
    shaky.lost_answers = 1
    with serve_in_thread(shaky.app) as here:
        envelope = acme.post(f"{here}{CANCEL}", {"study_id": study_of(store, quick)}).json()
    assert envelope["skipped"] == [{"participant_id": str(quick), "reason": "already_terminal"}]
    assert ids_of(envelope["cancelled"]) == [str(slow)]
    assert shaky.told_of() == {slow}


def test_only_those_that_run_have_a_step_to_abort(store: Store, acme: ApiClient, shaky: Shaky) -> None:
    ids = make_some(store, acme, 4)
    run_steps(store, ids[2], 1)
    shaky.lost_answers = 0
    with serve_in_thread(shaky.app) as here:
        answer = acme.post(f"{here}{CANCEL}", {"study_id": study_of(store, ids[0])})
    assert answer.json()["summary"]["cancelled_count"] == 4
    assert shaky.told["abort"] == [ids[2]]
    assert set(shaky.told["stop"]) == set(shaky.told["notice"]) == set(ids)


def test_when_nobody_can_tell_whether_they_are_cancelled_they_are_told_all_the_same(
    store: Store, acme: ApiClient, shaky: Shaky
) -> None:
    ids = make_some(store, acme, 5)
    study = study_of(store, ids[0])
    shaky.lost_answers, shaky.rows_can_be_asked = 99, False
    with serve_in_thread(shaky.app) as here:
        answer = acme.post(f"{here}{CANCEL}", {"study_id": study})
    assert (answer.status_code, answer.json()["error_code"]) == (503, "service_unavailable")
    assert shaky.told_of() == set(shaky.told["abort"]) == set(ids)
    assert cancel(acme, study_id=study)["summary"]["skipped_count"] == 5


def test_who_was_not_cancelled_is_not_told_to_stop(
    store: Store, acme: ApiClient, shaky: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = make_some(store, acme, 3)
    fail_for(monkeypatch, AWAY, lambda asked: ids[1] in asked)
    with serve_in_thread(shaky.app) as here:
        answer = acme.post(f"{here}{CANCEL}", {"study_id": study_of(store, ids[0])})
    assert answer.json()["summary"]["failed_count"] == 1
    assert shaky.told_of() == {ids[0], ids[2]}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_the_broker_away_is_never_a_failure(store: Store, acme: ApiClient, api_with: Callable[..., str]) -> None:
    ids = make_some(store, acme, 3)
    run_steps(store, ids[0], 1)
    lonely = api_with(broker_url="redis://127.0.0.1:1/0")
    answer = acme.post(f"{lonely}{CANCEL}", {"study_id": study_of(store, ids[0])})
    assert answer.json()["summary"] == {"total": 3, "cancelled_count": 3, "skipped_count": 0}
    assert {participant(store, id_)["status"] for id_ in ids} == {"cancelled"}


# -- the participant's own endpoint ------------------------------------------------------------------------


def test_a_participants_own_endpoint_answers_the_same_envelope(store: Store, acme: ApiClient) -> None:
    one, other = make_some(store, acme, 2)
    answer = acme.post(f"/v1/participants/{one}/cancel")
    assert answer.status_code == 200
    assert answer.json() == {
        "cancelled": [{"participant_id": str(one), "success": True, "status": "cancelled"}],
        "skipped": [],
        "summary": {"total": 1, "cancelled_count": 1, "skipped_count": 0},
    }
    again = acme.post(f"/v1/participants/{participant(store, one)['alias']}/cancel", {})
    assert again.json()["skipped"] == [{"participant_id": str(one), "reason": "already_terminal"}]
    for wrong in ({"round": 1}, {"participant_id": str(other)}, []):
        assert acme.post(f"/v1/participants/{other}/cancel", wrong).status_code == 422
    assert participant(store, other)["status"] == Status.PENDING
