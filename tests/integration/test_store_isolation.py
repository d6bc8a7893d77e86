"""Each function that reads for a caller filters by the caller's workspace itself (P8), with or without ids."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, select, update

from tests.factories import StudyStore, make_ask, make_workspace
from understudy.domain.errors import NotFound, ValidationError
from understudy.domain.holds import STANDARD_LIMITS
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Outcome
from understudy.domain.people import generate_people
from understudy.domain.simulation import Usage
from understudy.domain.webhooks import MAX_WEBHOOKS
from understudy.store import (
    aliases,
    asks,
    call_limits,
    deletion,
    deliveries,
    dispatches,
    events,
    idempotency,
    limits,
    participants,
    pauses,
    people,
    quotas,
    removal,
    studies,
    usage,
    webhooks,
    window,
)
from understudy.store.engine import Store, store_clock, store_time
from understudy.store.participants import ParticipantScope
from understudy.store.schema import Tables


class TwoWorkspaces(StudyStore):
    """A study with one completed participant, an ask with one that is pending, and an empty other workspace."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "owner")
        self.other = make_workspace(store, "other", 0).workspace_id
        self.webhook_id = self.write(webhooks.insert_webhook, self.workspace_id, "https://a.example/", ["x"], "whsec_")
        self.ask_id, ((self.pending, *_), *_) = make_ask(store, self.workspace_id)
        used = Usage(1, 2, 3, 0.5, model="m")
        self.commit(self.must_claim(), 0, ends=True, outcome=Outcome.GAVE_UP, usage=used)
        self.write(usage.keep_sums, [self.id_])
        self.write(events.assign_positions)
        self.write(idempotency.find_or_reserve, self.workspace_id, "/path", "key", "hash")
        self.person_id = self.row().person_id
        self.write(quotas.charge_participants, self.workspace_id, 2, 0, self.read(store_time))
        self.write(quotas.measure, self.workspace_id)
        self.write(call_limits.take_requests, self.workspace_id, 1, 1)
        self.write(call_limits.take_places, self.workspace_id, "waits", uuid4(), 1, 1, 60)
        self.dispatch_id = self.row().dispatch_id


@pytest.fixture
def both(store: Store) -> TwoWorkspaces:
    return TwoWorkspaces(store)


#: Function -> the rows of workspace `w` that it reads.
READS: dict[str, Callable[[Connection, Any, TwoWorkspaces], Any]] = {
    "cancel_candidates": lambda c, w, b: participants.cancel_candidates(c, w, ParticipantScope(study_id=b.study_id)),
    "states": lambda c, w, b: participants.states(c, w, [b.id_]),
    "non_terminal_ids": lambda c, w, b: participants.non_terminal_ids(c, w, [b.pending]),
    "pending_queues": lambda c, w, b: participants.pending_queues(c, w, [b.pending]),
    "find_by_key": lambda c, w, b: idempotency.find_by_key(c, w, "key"),
    "select_details": lambda c, w, b: c.execute(participants.select_details(w)).all(),
    "page_of_participants": lambda c, w, b: participants.page_of_participants(
        c, w, ParticipantScope(), status=None, cursor=None, limit=9
    )[0],
    "page_of_people": lambda c, w, b: people.page_of_people(c, w, None, 9)[0],
    "get_people": lambda c, w, b: people.get_people(c, w, [b.person_id]),
    "count_people": lambda c, w, b: people.count_people(c, w),
    "page_of_studies": lambda c, w, b: studies.page_of_studies(c, w, None, 9)[0],
    "page_of_asks": lambda c, w, b: asks.page_of_asks(c, w, None, 9)[0],
    "list_iterations": lambda c, w, b: studies.list_iterations(c, w, b.study_id),
    "status_counts": lambda c, w, b: sum(studies.status_counts(c, w, b.study_id).values()),
    "outcome_counts": lambda c, w, b: studies.outcome_counts(c, w, b.study_id),
    "sentiment_counts": lambda c, w, b: sum(studies.sentiment_counts(c, w, b.study_id).values()),
    "last_position": lambda c, w, b: events.last_position(c, w),
    "events_after of a study": lambda c, w, b: events.events_after(c, w, 0, 9, of=(Kind.STUDY, b.study_id))[0],
    "events_after of all": lambda c, w, b: events.events_after(c, w, 0, 9)[0],
    "usage of today": lambda c, w, b: usage.sum_for_workspace_today(c, w),
    "participants_today": lambda c, w, b: quotas.participants_today(c, w),
    "model_tokens_today": lambda c, w, b: quotas.model_tokens_today(c, w),
    "stored_bytes": lambda c, w, b: quotas.stored_bytes(c, w),
    "count_requests": lambda c, w, b: call_limits.count_requests(c, w, 60),
    "count_places": lambda c, w, b: call_limits.count_places(c, w),
    "page_of_webhooks": lambda c, w, b: webhooks.page_of_webhooks(c, w, None, 9)[0],
    "get_webhook": lambda c, w, b: webhooks.get_webhook(c, w, b.webhook_id),
    "next_batch": lambda c, w, b: deliveries.next_batch(c, w),
    "count_by_status": lambda c, w, b: dispatches.count_by_status(c, w, b.dispatch_id),
    "first_participants": lambda c, w, b: dispatches.first_participants(c, w, b.dispatch_id, 9),
    "tokens": lambda c, w, b: usage.tokens_of_workspace(c, w, datetime.min.replace(tzinfo=UTC)),
}


def test_reads_return_the_rows_of_their_workspace_only(both: TwoWorkspaces) -> None:
    with both.store.read() as connection:
        found = {
            name: (bool(read(connection, both.workspace_id, both)), bool(read(connection, both.other, both)))
            for name, read in READS.items()
        }
    assert found == dict.fromkeys(READS, (True, False))


@pytest.mark.parametrize("kind", [Kind.STUDY, Kind.ITERATION, Kind.PARTICIPANT, Kind.PERSON, Kind.ASK, Kind.WEBHOOK])
def test_find_by_another_workspace_raises_not_found(both: TwoWorkspaces, kind: Kind) -> None:
    id_ = both.id_ if kind is Kind.PARTICIPANT else getattr(both, f"{kind.name.lower()}_id")
    assert both.read(aliases.find, both.workspace_id, kind, str(id_), "id")
    with pytest.raises(NotFound):
        both.read(aliases.find, both.other, kind, str(id_), "id")


def test_find_many_returns_rows_in_order_and_raises_not_found_in_another_workspace(both: TwoWorkspaces) -> None:
    refs = [both.row().alias, str(both.id_).upper(), both.row().alias]
    found = both.read(aliases.find_many, both.workspace_id, Kind.PARTICIPANT, refs, "ids")
    assert [row.id for row in found] == [both.id_] * 3
    with pytest.raises(NotFound, match=refs[0]):
        both.read(aliases.find_many, both.other, Kind.PARTICIPANT, refs[:1], "ids")
    with pytest.raises(NotFound, match=refs[1]):
        both.read(aliases.find_many, both.other, Kind.PARTICIPANT, refs[1:2], "ids")


def test_limits_of_another_workspace_are_not_used_up(both: TwoWorkspaces) -> None:
    both.write(quotas.charge_participants, both.other, 2, 2, both.read(store_time))
    assert both.write(call_limits.take_requests, both.other, 1, 1).requests == 1
    assert both.write(call_limits.take_places, both.other, "waits", uuid4(), 1, 1, 60)
    both.write(quotas.measure, both.other)
    assert both.read(quotas.stored_bytes, both.other) == 0
    assert both.read(quotas.participants_today, both.workspace_id) == 2


def test_sample_of_an_empty_workspace_is_refused(both: TwoWorkspaces) -> None:
    with pytest.raises(ValidationError, match="has 0 people"):
        both.read(people.sample_people, both.other, 1, 0)


def test_idempotency_key_belongs_to_its_workspace(both: TwoWorkspaces) -> None:
    workspaces = (both.workspace_id, both.other)

    def find_or_reserve() -> list[Any]:
        return [both.write(idempotency.find_or_reserve, workspace, "/p", "k", "hash") for workspace in workspaces]

    assert find_or_reserve() == [None, None]
    answers = [{"of": str(workspace)} for workspace in workspaces]
    for workspace, answer in zip(workspaces, answers, strict=True):
        both.write(idempotency.save_answer, workspace, "/p", "k", answer)
    assert find_or_reserve() == answers


def test_webhooks_are_counted_and_deleted_in_their_workspace_only(both: TwoWorkspaces) -> None:
    hooks = [both.write(webhooks.insert_webhook, both.other, "https://b.example/", ["x"], "s") for _ in range(20)]
    assert (len(hooks), None in hooks) == (MAX_WEBHOOKS, False)
    assert both.write(webhooks.insert_webhook, both.other, "https://b.example/", ["x"], "s") is None
    assert both.write(webhooks.insert_webhook, both.workspace_id, "https://a.example/", ["x"], "s")
    assert not both.write(webhooks.delete_webhook, both.other, both.webhook_id)
    assert both.write(webhooks.delete_webhook, both.workspace_id, both.webhook_id)


def paused(both: TwoWorkspaces) -> list[bool]:
    """Returns whether the owner's study and workspace are paused, and whether its run has to give up its slot."""

    def read(connection: Connection) -> list[bool]:
        study, workspace, participant = Tables.study, Tables.workspace, Tables.participant
        return [
            connection.scalar(select(study.c.paused_at).where(study.c.id == both.study_id)) is not None,
            connection.scalar(select(workspace.c.paused_at).where(workspace.c.id == both.workspace_id)) is not None,
            connection.scalar(select(participant.c.yields).where(participant.c.status == "running")),
        ]

    return list(both.read(read))


def test_pauses_hold_back_participants_of_their_workspace_only(both: TwoWorkspaces) -> None:
    both.running()
    both.write(pauses.pause_study, both.other, both.study_id)
    both.write(pauses.pause_workspace, both.other)
    assert paused(both) == [False, False, False]
    both.write(pauses.pause_study, both.workspace_id, both.study_id)
    both.write(pauses.resume_study, both.other, both.study_id)
    assert paused(both) == [True, False, True]
    both.write(pauses.resume_study, both.workspace_id, both.study_id)
    assert paused(both) == [False, False, False]
    both.write(pauses.pause_workspace, both.workspace_id)
    both.write(pauses.resume_workspace, both.other)
    assert paused(both) == [False, True, True]


def test_another_workspace_does_not_learn_what_holds_back_a_participant(both: TwoWorkspaces) -> None:
    ids = both.participants()
    both.write(pauses.pause_study, both.workspace_id, both.study_id)
    assert both.read(limits.holds, both.workspace_id, ids, STANDARD_LIMITS) != {}
    assert both.read(limits.holds, both.other, ids, STANDARD_LIMITS) == {}


def test_late_messages_and_runs_of_another_workspace_do_not_move(both: TwoWorkspaces) -> None:
    both.running()
    (late,) = both.participants()
    of_late = update(Tables.participant).where(Tables.participant.c.id == late)
    both.write(Connection.execute, of_late.values(dispatched_at=store_clock(-60)))
    assert both.read(window._late_ids, both.workspace_id, 5) == [late]
    assert both.read(window._late_ids, both.other, 5) == []
    assert both.write(window._preempt, both.other, 5) == 0
    assert both.write(window._preempt, both.workspace_id, 5) == 1


def test_person_of_another_workspace_is_not_deleted(both: TwoWorkspaces) -> None:
    (profile,) = generate_people(1, seed=5)
    (id_,) = both.write(people.insert_people, both.workspace_id, [profile])
    assert not both.write(deletion.delete_person, both.other, id_)
    assert both.write(deletion.delete_person, both.workspace_id, id_)


def test_newest_event_of_another_workspace_does_not_count(both: TwoWorkspaces) -> None:
    assert both.read(removal._newest_participant, both.workspace_id) is not None
    assert both.read(removal._newest_participant, both.other) is None


def test_each_workspace_has_its_own_cursor_and_its_own_start(store: Store) -> None:
    first, second = StudyStore(store, "first"), StudyStore(store, "second")
    types = ["participant.cancelled"]
    early = first.write(webhooks.insert_webhook, first.workspace_id, "https://a.example/", types, "s")
    for study in (first, second):
        study.cancel()
    first.write(events.assign_positions)
    # The webhook of the second workspace comes after its events, that of the first one before them.
    assert second.write(webhooks.insert_webhook, second.workspace_id, "https://b.example/", types, "s")
    assert second.read(deliveries.next_batch, second.workspace_id) is None
    batch = first.read(deliveries.next_batch, first.workspace_id)
    assert first.write(deliveries.record_batch, batch) == 1
    third = StudyStore(store, "third")
    assert third.write(webhooks.insert_webhook, third.workspace_id, "https://c.example/", types, "s")
    third.cancel()
    third.write(events.assign_positions)
    batch = third.read(deliveries.next_batch, third.workspace_id)
    assert (batch.start, [source.id for source in batch.sources]) == (0, [third.id_])
    assert third.write(deliveries.record_batch, batch) == 1
    with store.read() as connection:
        rows = connection.execute(Tables.delivery.select()).all()
    assert {row.webhook_id: row.source_id for row in rows if row.webhook_id == early} == {early: first.id_}
