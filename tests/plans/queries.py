"""The frequent queries of a busy fleet, by the functions that send them."""

from collections.abc import Callable

from sqlalchemy import Connection

from tests.factories import make_step
from tests.plans.seed_data import STEPS, SeedData
from tests.plans.seed_deliveries import SeedDeliveries
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue
from understudy.store import (
    aliases,
    deletion,
    deliveries,
    dispatch,
    events,
    idempotency,
    leases,
    lifecycle,
    lineage,
    participants,
    prune,
    recovery,
    removal,
    stops,
    studies,
    usage,
    window,
    workspaces,
)
from understudy.store.backlog import backlog
from understudy.store.engine import store_time
from understudy.store.guards import Claim
from understudy.store.lifecycle import Commit
from understudy.store.participants import ParticipantScope

Query = Callable[[Connection, SeedData], object]

HOT: dict[str, Query] = {
    # a worker
    "claim": lambda c, it: lifecycle.claim_all(c, it.by_status["pending"][:20], it.worker_id),
    "commit": lambda c, it: lifecycle.commit_steps(
        c, [Commit(Claim(id_, 1), make_step(STEPS), 5) for id_ in it.by_status["running"][:20]]
    ),
    "complete": lambda c, it: lifecycle.complete(c, Claim(it.by_status["running"][0], 1), None, 5),
    "release": lambda c, it: lifecycle.release(c, Claim(it.by_status["running"][0], 1), 5),
    "what to run": lambda c, it: lineage.load_run_specs(c, it.by_status["pending"][:20]),
    "state to go on from": lambda c, it: lineage.load_checkpoint(c, it.extended[0]),
    "what was said": lambda c, it: lineage.latest_interactions(c, it.extended[0], 10),
    "heartbeat": lambda c, it: (leases.renew_lease(c, it.worker_id, 9), leases.running_claims(c, it.worker_id)),
    # a caller
    "token": lambda c, it: workspaces.authenticate(c, it.secret),
    "find": lambda c, it: aliases.find(c, it.workspace_id, Kind.PARTICIPANT, str(it.extended[0]), "x"),
    "find by alias": lambda c, it: aliases.find(c, it.workspace_id, Kind.PARTICIPANT, "t-00000009", "x"),
    "run": lambda c, it: dispatch.insert_participants(
        c,
        it.workspace_id,
        [it.person_id] * 20,
        study_id=it.study_id,
        iteration_id=it.iteration_id,
        max_interactions=5,
        seed=1,
    ),
    "cancel one": lambda c, it: lifecycle.cancel(c, it.workspace_id, it.by_status["pending"][:1]),
    "cancel many": lambda c, it: lifecycle.cancel(
        c, it.workspace_id, [*it.by_status["pending"], *it.by_status["running"]]
    ),
    "cancel's scope": lambda c, it: participants.cancel_candidates(
        c, it.workspace_id, ParticipantScope(study_id=it.study_id)
    ),
    "extend": lambda c, it: dispatch.insert_branch(c, it.workspace_id, it.by_status["completed"][7], 10, "Go on."),
    "wait": lambda c, it: (
        participants.non_terminal_ids(c, it.workspace_id, it.by_status["completed"][:200]),
        participants.states(c, it.workspace_id, it.by_status["completed"][:200]),
    ),
    "journey page": lambda c, it: lineage.page_of_interactions(
        c, it.workspace_id, it.extended[0], own=False, cursor=None, limit=50
    ),
    "list of a study": lambda c, it: participants.page_of_participants(
        c, it.workspace_id, ParticipantScope(study_id=it.study_id), status=None, cursor=None, limit=50
    ),
    "list of an iteration": lambda c, it: participants.page_of_participants(
        c,
        it.workspace_id,
        ParticipantScope(iteration_id=it.iteration_id),
        status=Status.COMPLETED,
        cursor=None,
        limit=50,
    ),
    "list of a workspace": lambda c, it: participants.page_of_participants(
        c, it.workspace_id, ParticipantScope(), status=None, cursor=None, limit=50
    ),
    "a study's counts": lambda c, it: (
        studies.status_counts(c, it.workspace_id, it.study_id),
        studies.outcome_counts(c, it.workspace_id, it.study_id),
        studies.sentiment_counts(c, it.workspace_id, it.study_id),
    ),
    "a study's usage": lambda c, it: usage.sum_for_study(c, it.study_id),
    "a workspace's usage": lambda c, it: usage.sum_for_workspace_today(c, it.workspace_id),
    "events of a workspace": lambda c, it: events.events_after(c, it.workspace_id, 500, 100),
    "events of a study": lambda c, it: events.events_after(c, it.workspace_id, 500, 100, of=(Kind.STUDY, it.study_id)),
    "events of one": lambda c, it: events.events_after(
        c, it.workspace_id, 500, 100, of=(Kind.PARTICIPANT, it.extended[0])
    ),
    # a sweeper
    "positions": lambda c, it: (events.has_unsequenced(c), events.assign_positions(c)),
    "lost": lambda c, it: recovery.recover_lost(c, 3, 1000),
    "stops": lambda c, it: stops.record_stops(c, 30, 1000),
    "window": lambda c, it: (window.has_work(c), window.refill(c, 1000), window.place_orphans(c)),
    "own again": lambda c, it: dispatch.reserve_again(c, it.by_status["pending"], store_time(c)),
    "overdue": lambda c, it: dispatch.published_before_ids(c, Queue.RUNS, store_time(c), 1000),
    "last followed": lambda c, it: dispatch.newest_running_dispatch(c, Queue.RUNS),
    "dead leases": lambda c, it: leases.delete_expired(c, 0),
    "old keys": lambda c, it: idempotency.delete_expired(c),
    # metrics
    "active": lambda c, it: participants.active_counts(c),
    "pending": lambda c, it: backlog(c, [10, 60]),
    # prune
    "who is old": lambda c, it: prune.expired_participants(
        c, prune.RetentionFilter(it.workspace_id, store_time(c)), None, 200
    ),
    "prune": lambda c, it: prune.prune(
        c, prune.RetentionFilter(it.workspace_id, store_time(c)), it.by_status["completed"][:200], (), dry_run=False
    ),
    # delete
    "children of some": lambda c, it: deletion._without_sources(c, it.by_status["completed"][:200]),
    "removal": lambda c, it: removal.remove_participants(c, it.workspace_id, it.extended[:20]),
    "delete a person": lambda c, it: deletion.delete_person(c, it.workspace_id, it.person_id),
}

#: Of the process that sends webhooks, and of a caller who looks at deliveries.
OF_WEBHOOKS: dict[str, Callable[[Connection, SeedDeliveries], object]] = {
    "which have events": lambda c, it: deliveries.workspaces_with_events(c),
    "events to deliver": lambda c, it: deliveries.next_batch(c, it.workspace_id),
    "new deliveries": lambda c, it: deliveries.record_batch(c, it.batch),
    "which are due": lambda c, it: deliveries.webhooks_with_due(c),
    "claim": lambda c, it: deliveries.claim(c, it.webhook_id, 20),
    "result": lambda c, it: deliveries.settle(c, deliveries.Attempt(it.pending[0], 0, None, 200), 60),
    "replay of one": lambda c, it: deliveries.replay(c, deliveries.ReplayFilter(it.webhook_id, it.delivered)),
    "log": lambda c, it: deliveries.page_of_deliveries(c, it.webhook_id, None, None, 50),
    "remove old ones": lambda c, it: deliveries.delete_old(c, 100),
    "backlog": lambda c, it: deliveries.backlog(c),
}
