"""Implements study_run, simulation_extend, and the `dispatch` that simulation_wait answers.
ask_run and ask_round in asks.py dispatch in the same way.

Each call commits first and publishes in the background: an answered dispatch never depends on the broker.
"""

import hashlib
import logging
import secrets
from collections.abc import Callable
from typing import NamedTuple, Self
from uuid import UUID

from understudy import faults
from understudy.domain.errors import NotFound, ServiceUnavailable, ValidationError
from understudy.domain.extension import plan_extension, source_not_terminal
from understudy.domain.filters import NO_FILTER
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.envelopes.simulations import Dispatch
from understudy.operations.requests import ExtendOptions, PanelRequest, Request, StudyRunRequest
from understudy.service import Service
from understudy.store import Connection, dispatch, idempotency, participants, people, studies
from understudy.store.aliases import find
from understudy.store.engine import StoreError

log = logging.getLogger(__name__)

DEFAULT_MAX_INTERACTIONS = 20


class IdempotentRequest(NamedTuple):
    """Identifies a repeated dispatch: path, Idempotency-Key and a hash of the request."""

    path: str
    key: str
    request_hash: str

    @classmethod
    def of(cls, path: str, key: str, request: Request) -> Self:
        # Null fields that earlier versions lack are left out: keys of those versions stay valid for 24 h.
        later = {name for name in ("where",) if getattr(request, name, None) is None}
        canonical = request.model_dump_json(exclude=later)
        return cls(path, key, hashlib.sha256(canonical.encode()).hexdigest())


class ReplayedDispatch(Dispatch):
    """The dispatch of an earlier request; its participants may have progressed since."""


def run_study(
    service: Service,
    workspace_id: UUID,
    study_ref: str,
    request: StudyRunRequest,
    idempotent_request: IdempotentRequest | None = None,
) -> Dispatch:
    """Creates one participant per person in one transaction and dispatches them.

    With `idempotent_request`, a repeated request returns the dispatch of the first one. Raises NotFound,
    ValidationError, and Conflict if the key was used for another request.
    """
    seed = secrets.randbits(31) if request.seed is None else request.seed

    def create(connection: Connection) -> Dispatch:
        study = find(connection, workspace_id, Kind.STUDY, study_ref, "study_id")
        iteration = studies.resolve_iteration(connection, workspace_id, study.id, request.iteration_id)
        if iteration is None:
            raise _no_iteration(study.alias, request.iteration_id)
        person_ids = select_people(service, connection, workspace_id, request, seed)
        max_interactions = request.max_interactions or iteration.max_interactions or DEFAULT_MAX_INTERACTIONS
        aliases = dispatch.insert_participants(
            connection,
            workspace_id,
            person_ids,
            study_id=study.id,
            iteration_id=iteration.id,
            max_interactions=max_interactions,
            seed=seed,
        )
        return Dispatch(
            participant_ids=list(aliases),
            aliases=list(aliases.values()),
            study_id=study.id,
            iteration_id=iteration.id,
            max_interactions=max_interactions,
        )

    return dispatch_idempotent(service, workspace_id, create, idempotent_request, "run.commit")


def dispatch_idempotent(
    service: Service,
    workspace_id: UUID,
    create: Callable[[Connection], Dispatch],
    once: IdempotentRequest | None,
    site: str,
) -> Dispatch:
    """Commits the result of `create`, or returns its earlier result; then publishes in the background."""
    created: Dispatch | None = None

    def work(connection: Connection) -> Dispatch:
        nonlocal created
        created = None
        if once is not None:
            answered = idempotency.find_or_reserve(connection, workspace_id, *once)
            if answered is not None:
                return ReplayedDispatch.model_validate(answered)
        created = create(connection)
        if once is not None:
            idempotency.save_answer(connection, workspace_id, once.path, once.key, created.model_dump(mode="json"))
        return created

    try:
        with faults.fault_site(site):
            dispatched = service.store.write(work)
    except ServiceUnavailable as error:
        if created is None or not _is_committed(service, workspace_id, created):
            raise
        log.warning("the dispatch is committed although the store reported an error: %s", error)
        dispatched = created
    # For a repeated request too: the first process may have died before it published.
    service.publisher.enqueue_run_messages(dispatched.participant_ids)
    return dispatched


def _is_committed(service: Service, workspace_id: UUID, created: Dispatch) -> bool:
    """Returns whether a commit in doubt took place; the first row decides for the whole transaction.

    Raises ServiceUnavailable if the store cannot be read.
    """
    try:
        with service.store.read() as connection:
            return bool(participants.states(connection, workspace_id, created.participant_ids[:1]))
    except (ServiceUnavailable, StoreError) as error:
        raise ServiceUnavailable(
            "The connection to the store was lost; the request may have been applied.",
            suggestions=(
                "With an Idempotency-Key, repeat the same request. Without one, check GET /v1/participants first.",
            ),
        ) from error


def _no_iteration(study_alias: str, iteration_ref: str | None) -> NotFound | ValidationError:
    if iteration_ref is None:
        return ValidationError(
            f"Study {study_alias} has no iteration to run.",
            suggestions=("Add one with study_add_iteration.",),
        )
    return NotFound(f"There is no iteration {iteration_ref} in study {study_alias}.")


def select_people(
    service: Service,
    connection: Connection,
    workspace_id: UUID,
    request: PanelRequest,
    seed: int,
) -> list[UUID]:
    """Returns the ids of the people to dispatch, each once. Raises ValidationError, NotFound."""
    refs = request.person_ids
    count = len(refs) if refs is not None else request.sample or 0
    max_count = service.settings.max_participants_per_run
    if count > max_count:
        raise ValidationError(f"One run takes at most {max_count:,} participants; {count:,} were asked for.")
    if refs is None:
        where = NO_FILTER if request.where is None else request.where.filter()
        return people.sample_people(connection, workspace_id, count, seed, where)
    ids = people.resolve_people(connection, workspace_id, refs)
    if len(set(ids)) < len(ids):
        raise ValidationError("person_ids names a person twice; one person takes part once in a run.")
    return ids


def extend(
    service: Service,
    workspace_id: UUID,
    source_ref: str,
    request: ExtendOptions,
    idempotent_request: IdempotentRequest | None = None,
) -> Dispatch:
    """Creates a participant that continues from a terminal one; the source does not change.

    Each extend of one source creates a participant. With `idempotent_request`, a repeated request returns the
    participant of the first one. Raises NotFound, ValidationError, Conflict.
    """
    extension = plan_extension(request.additional_steps, request.instruction, service.settings.max_additional_steps)

    def create(connection: Connection) -> Dispatch:
        source = find(connection, workspace_id, Kind.PARTICIPANT, source_ref, "participant_id")
        child = dispatch.insert_branch(
            connection, workspace_id, source.id, extension.additional_steps, extension.instruction
        )
        if child is None:
            # Not terminal, or pruned in the meantime: then this raises NotFound.
            source = find(connection, workspace_id, Kind.PARTICIPANT, source_ref, "participant_id")
            raise source_not_terminal(source.alias, Status(source.status))
        return Dispatch(
            participant_ids=[child.id],
            aliases=[child.alias],
            study_id=child.study_id,
            iteration_id=child.iteration_id,
            ask_id=child.ask_id,
            round=child.round,
            extended_from=child.extended_from,
            inherited_interactions=child.branched_at,
            max_interactions=child.max_interactions,
        )

    return dispatch_idempotent(service, workspace_id, create, idempotent_request, "extend.commit")


async def resolve_wait(service: Service, workspace_id: UUID, refs: list[str]) -> Dispatch:
    """Returns the participants to wait for, each once, in the given order. Raises NotFound."""
    rows = await service.waiting.find(workspace_id, refs)
    return ReplayedDispatch(participant_ids=[row.id for row in rows], aliases=[row.alias for row in rows])
