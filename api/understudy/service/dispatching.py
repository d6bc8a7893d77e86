"""study_run, simulation_extend and the dispatch of simulation_wait: what makes participants run.
ask_run and ask_round, in asks.py, dispatch by the same means.

Each commits first and publishes behind the answer: what is answered is dispatched, whatever the broker does.
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
    """What makes a repeated dispatch known: its path, its Idempotency-Key, and what was asked for."""

    path: str
    key: str
    request_hash: str

    @classmethod
    def of(cls, path: str, key: str, request: Request) -> Self:
        # What an earlier version did not know is left out: its keys are good for a day, too.
        later = {name for name in ("where",) if getattr(request, name, None) is None}
        asked = request.model_dump_json(exclude=later)
        return cls(path, key, hashlib.sha256(asked.encode()).hexdigest())


class ReplayedDispatch(Dispatch):
    """What an earlier request dispatched: it may have come far since."""


def run_study(
    service: Service,
    workspace_id: UUID,
    study_ref: str,
    request: StudyRunRequest,
    idempotent_request: IdempotentRequest | None = None,
) -> Dispatch:
    """Make one participant per person, in one transaction, and have them run.

    With `idempotent_request`, a repeated request is answered with what the first one made. Raises NotFound,
    ValidationError, and Conflict when the key was used for something else.
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
    place: str,
) -> Dispatch:
    """Commit what `create` makes, or find what it made before; then have its messages published."""
    made: Dispatch | None = None

    def work(connection: Connection) -> Dispatch:
        nonlocal made
        made = None
        if once is not None:
            answered = idempotency.find_or_reserve(connection, workspace_id, *once)
            if answered is not None:
                return ReplayedDispatch.model_validate(answered)
        made = create(connection)
        if once is not None:
            idempotency.save_answer(
                connection, workspace_id, once.path, once.key, made.model_dump(mode="json")
            )
        return made

    try:
        with faults.fault_site(place):
            dispatched = service.store.write(work)
    except ServiceUnavailable as error:
        if made is None or not _is_committed(service, workspace_id, made):
            raise
        log.warning("committed, though the store did not say so: %s", error)
        dispatched = made
    # Of a repeated one too: whoever died before publishing may have left it to us.
    service.publisher.enqueue_run_messages(dispatched.participant_ids)
    return dispatched


def _is_committed(service: Service, workspace_id: UUID, made: Dispatch) -> bool:
    """Was this committed although the store was lost before it said so? All of it was, or nothing.

    Raises ServiceUnavailable when nobody can tell.
    """
    try:
        with service.store.read() as connection:
            return bool(participants.states(connection, workspace_id, made.participant_ids[:1]))
    except (ServiceUnavailable, StoreError) as error:
        raise ServiceUnavailable(
            "The store was lost in the middle of this: it may have been done.",
            suggestions=(
                "With an Idempotency-Key the same request can be sent again; without one look first what is "
                "there, at GET /v1/participants.",
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
    """Who is to take part, each once. Raises ValidationError, NotFound."""
    refs = request.person_ids
    count = len(refs) if refs is not None else request.sample or 0
    most = service.settings.max_participants_per_run
    if count > most:
        raise ValidationError(f"One run takes at most {most:,} participants; {count:,} were asked for.")
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
    once: IdempotentRequest | None = None,
) -> Dispatch:
    """Have a new participant go on where a terminal one ended; the source stays as it is.

    Each extend of one source creates a participant. With `idempotent_request`, a repeated request returns the
    participant of the first one. Raises NotFound, ValidationError, Conflict.
    """
    extension = plan_extension(
        request.additional_steps, request.instruction, service.settings.max_additional_steps
    )

    def create(connection: Connection) -> Dispatch:
        source = find(connection, workspace_id, Kind.PARTICIPANT, source_ref, "participant_id")
        child = dispatch.insert_branch(
            connection, workspace_id, source.id, extension.additional_steps, extension.instruction
        )
        if child is None:
            # Removed since it was found?
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

    return dispatch_idempotent(service, workspace_id, create, once, "extend.commit")


async def resolve_wait(service: Service, workspace_id: UUID, refs: list[str]) -> Dispatch:
    """What simulation_wait waits for: each participant once, in the order given. Raises NotFound."""
    rows = await service.waiting.find(workspace_id, refs)
    return ReplayedDispatch(participant_ids=[row.id for row in rows], aliases=[row.alias for row in rows])
