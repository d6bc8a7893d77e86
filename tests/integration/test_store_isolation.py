"""Every function that reads for a caller keeps to the caller's workspace by itself (P8), ids or no ids."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.factories import make_ask, make_lease, make_participants, make_study, make_workspace
from tests.integration.test_store_lifecycle import make_step
from understudy.domain.errors import NotFound, ValidationError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Outcome
from understudy.domain.simulation import Usage
from understudy.store import aliases, asks, events, idempotency, lifecycle, participants, people, studies, usage
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.participants import ParticipantScope


class Theirs(NamedTuple):
    """Another workspace's rows: a study with one completed participant, and an ask with one that waits."""

    stranger: UUID
    owner: UUID
    study: UUID
    iteration: UUID
    participant: UUID
    person: UUID
    ask: UUID
    waiting: UUID


@pytest.fixture
def theirs(store: Store) -> Theirs:
    owner = make_workspace(store, "owner").workspace_id
    stranger = store.write(_empty_workspace)
    study, (iteration,) = make_study(store, owner)
    (participant,) = make_participants(store, owner, study, iteration)
    ask, ((waiting, *_), *_) = make_ask(store, owner)
    worker_id = make_lease(store)

    def finish(connection: Connection) -> UUID:
        row = lifecycle.claim(connection, participant, worker_id)
        assert row is not None
        step = make_step(0, ends=True, outcome=Outcome.GAVE_UP, usage=Usage(1, 2, 3, 0.5, model="m"))
        assert lifecycle.commit_step(connection, Claim(participant, row.epoch), step, 1)
        events.assign_positions(connection)
        person: UUID = row.person_id
        return person

    return Theirs(stranger, owner, study, iteration, participant, store.write(finish), ask, waiting)


def _empty_workspace(connection: Connection) -> UUID:
    from understudy.store.workspaces import create_token

    return create_token(connection, "stranger").workspace_id


READS: dict[str, Callable[[Connection, UUID, Theirs], Any]] = {
    "candidates": lambda c, w, t: participants.cancel_candidates(c, w, ParticipantScope(study_id=t.study)),
    "states": lambda c, w, t: participants.states(c, w, [t.participant]),
    "unfinished": lambda c, w, t: participants.non_terminal_ids(c, w, [t.waiting]),
    "described": lambda c, w, t: c.execute(participants.select_details(w)).all(),
    "page_of_participants": lambda c, w, t: participants.page_of_participants(
        c, w, ParticipantScope(), status=None, cursor=None, limit=9
    )[0],
    "page_of_people": lambda c, w, t: people.page_of_people(c, w, None, 9)[0],
    "people_of": lambda c, w, t: people.get_people(c, w, [t.person]),
    "count_people": lambda c, w, t: people.count_people(c, w),
    "page_of_studies": lambda c, w, t: studies.page_of_studies(c, w, None, 9)[0],
    "page_of_asks": lambda c, w, t: asks.page_of_asks(c, w, None, 9)[0],
    "iterations_of": lambda c, w, t: studies.list_iterations(c, w, t.study),
    "status_counts": lambda c, w, t: sum(studies.status_counts(c, w, t.study).values()),
    "outcome_counts": lambda c, w, t: studies.outcome_counts(c, w, t.study),
    "newest_position": lambda c, w, t: events.last_position(c, w),
    "events_after": lambda c, w, t: events.events_after(c, w, 0, 9, of=(Kind.STUDY, t.study)),
    "events_after, of all": lambda c, w, t: events.events_after(c, w, 0, 9),
    "usage of today": lambda c, w, t: usage.sum_for_workspace_today(c, w),
    "tokens": lambda c, w, t: usage.tokens_of_workspace(c, w, datetime.min.replace(tzinfo=UTC)),
    "sentiment_counts": lambda c, w, t: sum(studies.sentiment_counts(c, w, t.study).values()),
}


@pytest.mark.parametrize("name", READS)
def test_the_owner_sees_it_and_a_stranger_does_not(store: Store, theirs: Theirs, name: str) -> None:
    with store.read() as connection:
        assert READS[name](connection, theirs.owner, theirs)
        assert not READS[name](connection, theirs.stranger, theirs)


@pytest.mark.parametrize("kind", [Kind.STUDY, Kind.ITERATION, Kind.PARTICIPANT, Kind.PERSON, Kind.ASK])
def test_a_stranger_finds_nothing_by_id(store: Store, theirs: Theirs, kind: Kind) -> None:
    ref = str(getattr(theirs, kind.name.lower()))
    with store.read() as connection:
        assert aliases.find(connection, theirs.owner, kind, ref, "id")
        with pytest.raises(NotFound):
            aliases.find(connection, theirs.stranger, kind, ref, "id")


def test_a_stranger_samples_nobody(store: Store, theirs: Theirs) -> None:
    with store.read() as connection, pytest.raises(ValidationError, match="has 0 people"):
        people.sample_people(connection, theirs.stranger, 1, 0)


def test_an_idempotency_key_is_its_workspaces_own(store: Store, theirs: Theirs) -> None:
    both = (theirs.owner, theirs.stranger)
    for workspace in both:
        taken = store.write(
            lambda connection, w=workspace: idempotency.find_or_reserve(connection, w, "/p", "k", "hash")
        )
        assert taken is None
    for workspace in both:
        answer = {"of": str(workspace)}
        store.write(lambda connection, w=workspace, a=answer: idempotency.save_answer(connection, w, "/p", "k", a))
    for workspace in both:
        found = store.write(
            lambda connection, w=workspace: idempotency.find_or_reserve(connection, w, "/p", "k", "hash")
        )
        assert found == {"of": str(workspace)}


def test_many_are_found_in_order_and_strangers_are_not(store: Store, theirs: Theirs) -> None:
    with store.read() as connection:
        row = aliases.find(connection, theirs.owner, Kind.PARTICIPANT, str(theirs.participant), "id")
        refs = [row.alias, str(row.id).upper(), row.alias]
        found = aliases.find_many(connection, theirs.owner, Kind.PARTICIPANT, refs, "ids")
        assert [one.id for one in found] == [row.id] * 3
        for ref in refs:
            with pytest.raises(NotFound, match=ref):
                aliases.find_many(connection, theirs.stranger, Kind.PARTICIPANT, [ref], "ids")
