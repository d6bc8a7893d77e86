"""GET /v1/events: its events, their start, its limits and its errors. Source: contract section 6."""

import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.contract.manual_worker import claim, commit, dump_tables, end, make_run, run_steps, run_to_end
from tests.contract.openapi import check_event
from tests.event_client import ReceivedEvent, all_events, open_stream
from tests.factories import make_ask
from tests.http_client import ApiClient
from tests.parameters import one_store
from tests.servers import wait_until
from understudy.service import credentials, events
from understudy.store import lifecycle, stops, workspaces
from understudy.store.engine import Store


@pytest.fixture
def study(store: Store, acme: ApiClient) -> tuple[UUID, list[UUID]]:
    """A study and its participants: one that ended after two interactions, one pending."""
    study_id, ids = make_run(store, acme, 2)
    run_to_end(store, ids[0], 2)
    return study_id, ids


def told_of(told: list[ReceivedEvent], id_: UUID) -> list[tuple[int, str, Any]]:
    return [
        (one.data["seq"], one.event, one.data.get("status", one.data.get("index")))
        for one in told
        if one.data["participant_id"] == str(id_)
    ]


WHOLE_RUN = [
    *((1, "status", "pending"), (2, "status", "running"), (3, "interaction", 0), (4, "interaction", 1)),
    (5, "status", "completed"),
]


def test_a_studys_events_come_in_order_as_described(acme: ApiClient, study: tuple[UUID, list[UUID]]) -> None:
    study_id, (ended, waiting) = study
    told = all_events(acme, study_id=study_id)
    assert [one.id for one in told] == [1, 2, 3, 4, 5, 6]
    assert told_of(told, ended) == WHOLE_RUN
    assert told_of(told, waiting) == WHOLE_RUN[:1]
    for one in told:
        check_event(acme.api, {**one._asdict(), "id": str(one.id)})
    assert [(one.data["study_id"], "ask_id" in one.data) for one in told] == [(str(study_id), False)] * 6
    # By alias too.
    alias = acme.get(f"/v1/studies/{study_id}").json()["alias"]
    assert all_events(acme, study_id=alias) == told


def test_a_cancelled_participant_gets_a_stopped_event(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]]
) -> None:
    _, (_, waiting) = study
    held = run_steps(store, waiting, 1)
    store.write(lambda connection: lifecycle.cancel(connection, acme.workspace_id, [waiting]))
    assert not commit(store, held, 1)
    store.write(lambda connection: stops.record_stop(connection, waiting, claim=held))
    assert told_of(all_events(acme, participant_id=waiting), waiting) == [
        *WHOLE_RUN[:3],
        (4, "status", "cancelled"),
        (5, "stopped", None),
    ]


def test_the_events_of_a_participant_or_ask_contain_no_others(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]]
) -> None:
    _, (ended, _) = study
    ask_id, rounds = make_ask(store, acme.workspace_id)
    assert told_of(all_events(acme, participant_id=ended), ended) == WHOLE_RUN
    told = all_events(acme, ask_id=ask_id)
    assert {one.data["participant_id"] for one in told} == {str(id_) for ids in rounds for id_ in ids}
    assert {one.data["ask_id"] for one in told} == {str(ask_id)}


@pytest.mark.parametrize(
    ("given", "after"),
    [
        *(({parameter: after}, after) for parameter in ("last", "last_event_id") for after in (0, 3, 6)),
        # A browser reconnects with the header, to the address that it was given.
        ({"last_event_id": 1, "last": 5}, 5),
    ],
    ids=str,
)
def test_a_stream_continues_after_the_given_event(
    acme: ApiClient, study: tuple[UUID, list[UUID]], given: dict[str, int], after: int
) -> None:
    told = all_events(acme, study_id=study[0])
    with open_stream(acme, study_id=study[0], follow="false", **given) as rest:
        assert list(rest) == told[after:]


def test_new_events_are_sent_while_the_stream_is_open(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]]
) -> None:
    study_id, (_, waiting) = study
    assert len(all_events(acme, study_id=study_id)) == 6
    with open_stream(acme, study_id=study_id) as of_study, open_stream(acme, participant_id=waiting, last=6) as of_one:
        before = list(itertools.islice(of_study, 6))
        run_to_end(store, waiting, 2)
        after = list(itertools.islice(of_study, 4))
        assert told_of(before + after, waiting) == WHOLE_RUN
        assert list(itertools.islice(of_one, 4)) == after


def test_the_stream_has_the_form_of_server_sent_events(
    acme: ApiClient, study: tuple[UUID, list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    address = f"/v1/events?study_id={study[0]}"
    with acme.http.stream("GET", address) as answer:
        assert answer.headers["content-type"].split(";")[0] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        lines = answer.iter_lines()
        assert list(itertools.islice(lines, 2)) == ["retry: 1000", ""]
        # Nothing is sent before the first event but heartbeats.
        events_only = itertools.dropwhile(lambda line: line in {": heartbeat", ""}, lines)
        first = sorted(itertools.islice(events_only, 4))
        assert first[0] == ""
        assert [line.partition(":")[0] for line in first[1:]] == ["data", "event", "id"]
        assert ": heartbeat" in itertools.islice(events_only, 200)


def test_positions_are_counted_by_workspace(
    store: Store, acme: ApiClient, rival: ApiClient, study: tuple[UUID, list[UUID]]
) -> None:
    all_events(acme, study_id=study[0])
    study_id, (only,) = make_run(store, rival)
    assert [one.id for one in all_events(rival, study_id=study_id)] == [1]
    run_to_end(store, study[1][1], 2)
    all_events(acme, study_id=study[0])
    held = claim(store, only)
    end(store, held, "failed")
    assert [one.id for one in all_events(rival, participant_id=only)] == [1, 2, 3]


BAD = {
    "no scope": ({}, {}, "exactly one"),
    "two scopes": ({"study_id": "STUDY", "participant_id": "ENDED"}, {}, "exactly one"),
    "an empty scope": ({"study_id": ""}, {}, "study_id"),
    "another kind's id": ({"study_id": "t-123"}, {}, "study_id"),
    "negative": ({"study_id": "STUDY"}, {"Last-Event-ID": "-1"}, "Last-Event-ID"),
    "no number": ({"study_id": "STUDY"}, {"Last-Event-ID": "six"}, "Last-Event-ID"),
    "empty": ({"study_id": "STUDY"}, {"Last-Event-ID": ""}, "Last-Event-ID"),
    "a fraction": ({"study_id": "STUDY", "last_event_id": "1.0"}, {}, "last_event_id"),
    "other digits": ({"study_id": "STUDY", "last_event_id": "\u0661"}, {}, "last_event_id"),
    "too large for a column": ({"study_id": "STUDY"}, {"Last-Event-ID": str(2**63)}, "Last-Event-ID"),
    "too large for anything": ({"study_id": "STUDY"}, {"Last-Event-ID": "9" * 5000}, "Last-Event-ID"),
    "an event that is not there yet": ({"study_id": "STUDY"}, {"Last-Event-ID": "7"}, "newest event is 6"),
    "a flag that is none": ({"study_id": "STUDY", "follow": "no"}, {}, "follow"),
    "a parameter that is none": ({"study_id": "STUDY", "since": "1"}, {}, "since"),
}


@one_store
@pytest.mark.parametrize(("params", "headers", "named"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_anything_is_sent(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]], params: Any, headers: Any, named: str
) -> None:
    all_events(acme, study_id=study[0])
    before = dump_tables(store)
    names = {"STUDY": str(study[0]), "ENDED": str(study[1][0])}
    given = {key: names.get(value, value) for key, value in params.items()}
    answer = acme.http.get("/v1/events", params=given, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error"), answer.text
    assert named in answer.json()["error"]
    assert dump_tables(store) == before


def test_a_stream_over_the_maximum_is_service_unavailable(
    acme: ApiClient, study: tuple[UUID, list[UUID]], api_with: Callable[..., str]
) -> None:
    api = api_with(max_event_streams=2)
    with open_stream(acme, api=api, study_id=study[0]):
        with open_stream(acme, api=api, study_id=study[0]):
            answer = acme.http.get(f"{api}/v1/events", params={"study_id": str(study[0])})
            assert (answer.status_code, answer.json()["error_code"]) == (503, "service_unavailable")
            assert answer.json()["retryable"] is True
        # A closed stream makes room.
        wait_until(lambda: acme.get(f"{api}/v1/events", study_id=study[0], follow="false").status_code == 200)


def test_a_revoked_token_ends_the_stream_after_its_events(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # All events have a position, and so the stream sends them at once.
    all_events(acme, study_id=study[0])
    monkeypatch.setattr(credentials, "CHECK_INTERVAL_S", 0.05)
    with store.read() as connection:
        (token,) = [row for row in workspaces.list_tokens(connection) if row.name == "acme"]
    with open_stream(acme, study_id=study[0]) as told:
        assert next(told).id == 1
        store.write(lambda connection: workspaces.revoke_token(connection, token.id))
        assert [one.id for one in told] == [2, 3, 4, 5, 6]
    assert acme.get("/v1/events", study_id=study[0]).status_code == 401
