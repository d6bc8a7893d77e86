"""Objects of another workspace cannot be read, changed, counted, or distinguished from unknown ones (P8).

The table below contains every route; the first test fails if one is missing.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest

from tests.contract.manual_worker import dump_tables, participant, run_steps, run_to_end
from tests.contract.openapi import routes
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from understudy.domain.lifecycle import Status
from understudy.store.engine import Store

CONTENT = {"content": {"environment": "scripted"}}


class World(NamedTuple):
    """A row of each kind, by its UUID; `participant` is terminal, `active` runs."""

    study: str
    iteration: str
    participant: str
    active: str
    person: str
    ask: str
    webhook: str


def make_world(store: Store, caller: ApiClient) -> World:
    study, (iteration,) = make_study(store, caller.workspace_id)
    ended, active, *_ = make_participants(store, caller.workspace_id, study, iteration, 3)
    run_to_end(store, ended, 2)
    run_steps(store, active, 1)
    ask, _ = make_ask(store, caller.workspace_id)
    person = participant(store, ended)["person_id"]
    webhook = caller.post("/v1/webhooks", {"url": "https://93.184.215.14/"}).json()["id"]
    return World(*(str(id_) for id_ in (study, iteration, ended, active, person, ask, webhook)))


@pytest.fixture
def mine(store: Store, acme: ApiClient) -> World:
    return make_world(store, acme)


@pytest.fixture
def theirs(store: Store, rival: ApiClient) -> World:
    return make_world(store, rival)


class Place(NamedTuple):
    """A place in a request that takes an id: `<id>` is this id, other names are the caller's own rows."""

    route: str
    kind: str
    path: str = ""
    body: dict[str, Any] | None = None

    def send(self, caller: ApiClient, own: World, id_: str) -> httpx.Response:
        method, _, template = self.route.partition(" ")
        request = json.dumps([self.path or re.sub(r"{\w+}", "<id>", template), self.body])
        for name, value in (own._asdict() | {"id": id_}).items():
            request = request.replace(f"<{name}>", value)
        path, body = json.loads(request)
        return caller.http.request(method, path, json=body)


RUN = "POST /v1/studies/{study_id}/run"
CANCEL = "POST /v1/simulations/cancel"
EXTEND = "POST /v1/simulations/extend"
EVENTS = "GET /v1/events"
PLACES = [
    Place("GET /v1/studies/{study_id}", "study"),
    Place("GET /v1/studies/{study_id}", "study", "/v1/studies/<id>?view=full"),
    Place("GET /v1/studies/{study_id}", "study", "/v1/studies/<id>?view=per_participant"),
    Place("POST /v1/studies/{study_id}/iterations", "study", "", CONTENT),
    Place("POST /v1/studies/{study_id}/pause", "study"),
    Place("POST /v1/studies/{study_id}/resume", "study"),
    Place(RUN, "study", "", {"sample": 1}),
    Place(RUN, "iteration", "/v1/studies/<study>/run", {"sample": 1, "iteration_id": "<id>"}),
    Place(RUN, "person", "/v1/studies/<study>/run", {"person_ids": ["<id>"]}),
    Place("POST /v1/asks", "person", "", {"question": "?", "variants": ["A"], "person_ids": ["<id>"]}),
    Place("POST /v1/asks/{ask_id}/rounds", "ask"),
    Place("GET /v1/asks/{ask_id}", "ask"),
    Place("GET /v1/asks/{ask_id}", "ask", "/v1/asks/<id>?view=full"),
    Place("GET /v1/asks/{ask_id}", "ask", "/v1/asks/<id>?view=per_participant"),
    Place("GET /v1/people/{person_id}", "person"),
    Place("GET /v1/participants", "study", "/v1/participants?study_id=<id>"),
    Place("GET /v1/participants", "iteration", "/v1/participants?iteration_id=<id>"),
    Place("GET /v1/participants", "ask", "/v1/participants?ask_id=<id>"),
    Place("GET /v1/participants", "ask", "/v1/participants?ask_id=<id>&round=2"),
    Place("GET /v1/participants/{participant_id}", "participant"),
    Place("GET /v1/participants/{participant_id}/interactions", "participant"),
    Place("GET /v1/participants/{participant_id}/transcript", "participant"),
    Place("GET /v1/participants/{participant_id}/journey", "participant"),
    Place(CANCEL, "study", "", {"study_id": "<id>"}),
    Place(CANCEL, "iteration", "", {"iteration_id": "<id>"}),
    Place(CANCEL, "ask", "", {"ask_id": "<id>"}),
    Place(CANCEL, "ask", "", {"ask_id": "<id>", "round": 2}),
    Place(CANCEL, "active", "", {"participant_id": "<id>"}),
    Place("POST /v1/participants/{participant_id}/cancel", "active"),
    Place(EXTEND, "participant", "", {"participant_id": "<id>"}),
    Place(EXTEND, "active", "", {"participant_id": "<id>"}),
    Place("POST /v1/participants/{participant_id}/extend", "participant"),
    Place(EVENTS, "study", "/v1/events?follow=false&study_id=<id>"),
    Place(EVENTS, "participant", "/v1/events?follow=false&participant_id=<id>"),
    Place(EVENTS, "ask", "/v1/events?follow=false&ask_id=<id>"),
    Place(EVENTS, "study", "/v1/events?study_id=<id>&last_event_id=1000000"),
    Place("POST /v1/simulations/wait", "participant", "", {"participant_ids": ["<participant>", "<id>"]}),
    *(Place("POST /v1/events/tickets", kind, "", {f"{kind}_id": "<id>"}) for kind in ("study", "participant", "ask")),
    Place("GET /v1/webhooks/{webhook_id}", "webhook"),
    Place("POST /v1/webhooks/{webhook_id}/rotate", "webhook"),
    Place("POST /v1/webhooks/{webhook_id}/replay", "webhook", "", {"since": "2026-12-01T09:00:00Z"}),
    Place("GET /v1/webhooks/{webhook_id}/deliveries", "webhook"),
    Place("DELETE /v1/webhooks/{webhook_id}", "webhook"),
    Place("DELETE /v1/studies/{study_id}", "study"),
    Place("DELETE /v1/asks/{ask_id}", "ask"),
    Place("DELETE /v1/people/{person_id}", "person"),
]

#: Routes that take no id.
WITHOUT_ID = {
    *("POST /v1/studies", "GET /v1/studies", "POST /v1/people", "GET /v1/people", "GET /v1/people/export"),
    *("GET /v1/asks", "GET /v1/docs", "GET /v1/docs/{slug}", "GET /v1/webhooks", "POST /v1/webhooks"),
}

PARTICIPANTS = dict.fromkeys(("participant", "active"), "participants")
COLLECTIONS = {"study": "studies", "person": "people", "ask": "asks", "webhook": "webhooks"} | PARTICIPANTS


def aliases_of(caller: ApiClient, world: World) -> dict[str, str]:
    """The alias of each row of a world, by kind."""
    found = {
        kind: caller.get(f"/v1/{collection}/{getattr(world, kind)}").json()["alias"]
        for kind, collection in COLLECTIONS.items()
    }
    (iteration,) = caller.get(f"/v1/studies/{world.study}", view="full").json()["iterations"]
    return found | {"iteration": iteration["alias"]}


def own_aliases(caller: ApiClient, world: World) -> set[str]:
    """Every alias that the caller's workspace has."""
    listed = (
        one["alias"] for collection in COLLECTIONS.values() for one in caller.get(f"/v1/{collection}").json()["items"]
    )
    return {*listed, *aliases_of(caller, world).values()}


def answer_without(answer: httpx.Response, id_: str) -> tuple[int, str, list[tuple[str, str]]]:
    """All of an answer but for the id that was asked for, and what each answer has for itself."""
    own = {"date", "content-length", "x-request-id"}
    headers = [(name, value) for name, value in answer.headers.items() if name not in own]
    return answer.status_code, answer.text.replace(id_, "ID"), headers


def test_the_table_has_every_route(api: str) -> None:
    documented = {f"{method} {path}" for method, path in routes(api) if path.startswith("/v1/")}
    assert {place.route for place in PLACES} | WITHOUT_ID == documented
    assert all("_id}" not in route for route in WITHOUT_ID)


def test_another_workspaces_id_is_answered_exactly_like_an_unknown_one(
    store: Store, acme: ApiClient, rival: ApiClient, mine: World, theirs: World
) -> None:
    aliases, own = aliases_of(rival, theirs), own_aliases(acme, mine)
    before = dump_tables(store)

    def answers(id_of: Callable[[Place], str]) -> dict[str, Any]:
        ids = [(place, id_of(place)) for place in PLACES]
        return {str(place): answer_without(place.send(acme, mine, id_), id_) for place, id_ in ids if id_ not in own}

    expected = answers(lambda _: str(uuid4()))
    assert {status for status, *_ in expected.values()} == {404}
    assert answers(lambda place: getattr(theirs, place.kind)) == expected
    by_alias = answers(lambda place: aliases[place.kind])
    assert by_alias == {place: expected[place] for place in by_alias}
    # Two workspaces can have an alias in common by chance, but not many.
    assert len(by_alias) > len(PLACES) / 2
    assert dump_tables(store) == before


def test_every_place_of_the_table_accepts_an_own_id(acme: ApiClient, mine: World) -> None:
    """Therefore the test above compares with calls that would have worked."""
    # No workspace has an event of the number in this path yet.
    places = [place for place in PLACES if "last_event_id" not in place.path]
    answers = [(place, place.send(acme, mine, getattr(mine, place.kind))) for place in places]
    # Studies with active participants and people who take part cannot be deleted.
    refused = [place for place, answer in answers if not answer.is_success and answer.status_code != 409]
    assert refused == []


def test_lists_and_counts_contain_only_own_rows(
    store: Store, acme: ApiClient, rival: ApiClient, mine: World, theirs: World
) -> None:
    their_ids = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", repr(rows_of(store, rival))))
    pages = {path: acme.get(f"/v1/{path}", limit=500) for path in ("studies", "people", "participants", "asks")}
    sizes = {path: len(page.json()["items"]) for path, page in pages.items()}
    assert sizes == {"studies": 1, "people": 4, "participants": 7, "asks": 1}
    assert [id_ for id_ in their_ids for page in pages.values() if id_ in page.text] == []
    assert {one["status"] for one in acme.get("/v1/participants", status="running").json()["items"]} == {"running"}
    assert acme.get(f"/v1/studies/{mine.study}").json()["participant_count"] == 3


def rows_of(store: Store, caller: ApiClient) -> list[str]:
    return [
        row
        for table, rows in dump_tables(store).items()
        for row in rows
        if str(caller.workspace_id) in row and table != "workspace"
    ]


@pytest.mark.parametrize("path", ["/v1/people", "/v1/participants"])
def test_a_cursor_of_another_workspaces_list_is_refused(
    acme: ApiClient, rival: ApiClient, mine: World, theirs: World, path: str
) -> None:
    cursor = rival.get(path, limit=1).json()["next_cursor"]
    assert rival.get(path, cursor=cursor).status_code == 200
    answer = acme.get(path, cursor=cursor)
    assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error")


def test_a_sample_contains_only_own_people(store: Store, acme: ApiClient, rival: ApiClient, mine: World) -> None:
    rival.post("/v1/people", {"generate": 5})
    answer = acme.post(f"/v1/studies/{mine.study}/run", {"sample": 5})
    assert (answer.status_code, "4 people" in answer.json()["error"]) == (422, True)


def test_an_alias_that_two_workspaces_use_names_the_own_object(
    acme: ApiClient, rival: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {one["alias"] for caller in (acme, rival) for one in caller.get("/v1/people").json()["items"]}
    start = next(start for start in ("abc", "bcd", "cde", "def") if f"tp-{start}" not in taken)
    drawn = iter(UUID(f"{start}{n}{str(uuid4())[4:]}") for n in range(2))
    monkeypatch.setattr("understudy.store.people.uuid4", lambda: next(drawn))
    for caller, name in ((acme, "Ada"), (rival, "Rita")):
        caller.post("/v1/people", {"name": name, "age": 30, "country": "GB", "language": "en"})
    assert acme.get(f"/v1/people/tp-{start}").json()["name"] == "Ada"
    assert rival.get(f"/v1/people/tp-{start}").json()["name"] == "Rita"


def test_a_cancel_leaves_other_workspaces_unchanged(
    store: Store, acme: ApiClient, rival: ApiClient, mine: World, theirs: World
) -> None:
    before = rows_of(store, rival)
    scopes = ({"study_id": mine.study}, {"ask_id": mine.ask})
    assert [acme.post("/v1/simulations/cancel", scope).status_code for scope in scopes] == [200, 200]
    assert rows_of(store, rival) == before
    assert participant(store, UUID(theirs.active))["status"] == Status.RUNNING
    assert participant(store, UUID(mine.active))["status"] == Status.CANCELLED
