"""Implements study_run, simulation_extend, and the `dispatch` that simulation_wait answers.
ask_run and ask_round in asks.py dispatch in the same way.

Each call commits first and publishes in the background: an answered dispatch never depends on the broker.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from understudy import faults
from understudy.domain.errors import NotFound, ServiceUnavailable, ValidationError
from understudy.domain.extension import plan_extension, source_not_terminal
from understudy.domain.filters import NO_FILTER
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import TERMINAL, Status
from understudy.envelopes.simulations import Dispatch
from understudy.operations.requests import PanelRequest, RunRequest, WaitRequest
from understudy.service import quotas
from understudy.service.call import Call
from understudy.service.starts import Start, meaning_of, start_once
from understudy.store import Connection, dispatch, participants, people, studies
from understudy.store.aliases import find
from understudy.store.engine import AnyRow, StoreError

log = logging.getLogger(__name__)

DEFAULT_MAX_INTERACTIONS = 20


class ReplayedDispatch(Dispatch):
    """The dispatch of an earlier request; its participants may have progressed since."""


def run_study(call: Call, request: Any) -> Dispatch:
    """Creates one participant per person in one transaction and dispatches them.

    A call repeated with its key returns the dispatch of the first one. Raises NotFound, ValidationError, and
    Conflict if the key was used for another request.
    """

    def prepare(connection: Connection) -> PreparedDispatch:
        study = find(connection, call.workspace_id, Kind.STUDY, request.study_id, "study_id")
        iteration = studies.resolve_iteration(connection, call.workspace_id, study.id, request.iteration_id)
        if iteration is None:
            # Its study may have been deleted since it was found.
            find(connection, call.workspace_id, Kind.STUDY, request.study_id, "study_id")
            raise _no_iteration(study.alias, request.iteration_id)
        person_ids = resolve_people(call, connection, request)
        # Without an id the run takes the latest iteration, whichever it is at the time.
        resolved = {
            "study_id": study.id,
            "person_ids": person_ids,
            "iteration_id": iteration.id if request.iteration_id else None,
        }
        start = Start("study_run", study.id, partial(meaning_of, request, **resolved))
        return start, partial(insert_run, call, connection, study.id, iteration, request, person_ids)

    return dispatch_once(call, request, prepare, "run.commit")


def insert_run(
    call: Call,
    connection: Connection,
    study_id: UUID,
    iteration: AnyRow,
    request: RunRequest,
    person_ids: Sequence[UUID] | None,
) -> Dispatch:
    """Creates the participants of a run in the caller's transaction. Raises ValidationError, UsageLimitReached."""
    seed = secrets.randbits(31) if request.seed is None else request.seed
    max_interactions = request.max_interactions or iteration.max_interactions or DEFAULT_MAX_INTERACTIONS
    selected = select_people(call, connection, request, person_ids, seed)
    quotas.charge(call, connection, len(selected), mind=iteration.mind)
    aliases = dispatch.insert_participants(
        connection,
        call.workspace_id,
        selected,
        study_id=study_id,
        iteration_id=iteration.id,
        max_interactions=max_interactions,
        seed=seed,
    )
    return Dispatch(
        participant_ids=list(aliases),
        aliases=list(aliases.values()),
        study_id=study_id,
        iteration_id=iteration.id,
        max_interactions=max_interactions,
    )


#: A start, and the function that creates its participants in the same transaction.
PreparedDispatch: TypeAlias = tuple[Start, Callable[[], Dispatch]]


def dispatch_once(call: Call, request: Any, prepare: Callable[[Connection], PreparedDispatch], site: str) -> Dispatch:
    """Commits a dispatch, or returns the earlier one of the same key; then publishes in the background."""
    created: Dispatch | None = None

    def work(connection: Connection) -> Dispatch:
        nonlocal created
        created = None
        start, create = prepare(connection)

        def create_and_keep() -> Mapping[str, Any]:
            nonlocal created
            created = create()
            return created.model_dump(mode="json") if call.key is not None else {}

        answer = start_once(connection, call, start, request, create_and_keep)
        return created or ReplayedDispatch.model_validate(answer)

    try:
        with faults.fault_site(site):
            dispatched = call.service.store.write(work)
    except ServiceUnavailable as error:
        if created is None or not _is_committed(call, created):
            raise
        log.warning("the dispatch is committed although the store reported an error: %s", error)
        dispatched = created
    # For a repeated request too: the first process may have died before it published.
    call.service.publisher.enqueue_refill(len(dispatched.participant_ids))
    return dispatched


def _is_committed(call: Call, created: Dispatch) -> bool:
    """Returns whether a commit in doubt took place; the first row decides for the whole transaction.

    Raises ServiceUnavailable if the store cannot be read.
    """
    try:
        with call.service.store.read() as connection:
            return bool(participants.states(connection, call.workspace_id, created.participant_ids[:1]))
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


def resolve_people(call: Call, connection: Connection, request: PanelRequest) -> list[UUID] | None:
    """Returns the people that the request names, or None if it samples. Raises ValidationError, NotFound."""
    refs = request.person_ids
    count = len(refs) if refs is not None else request.sample or 0
    max_count = call.service.settings.max_participants_per_run
    if count > max_count:
        raise ValidationError(f"One run takes at most {max_count:,} participants; {count:,} were asked for.")
    if refs is None:
        return None
    ids = people.resolve_people(connection, call.workspace_id, refs)
    if len(set(ids)) < len(ids):
        raise ValidationError("person_ids names a person twice; one person takes part once in a run.")
    return ids


def select_people(
    call: Call, connection: Connection, request: PanelRequest, person_ids: Sequence[UUID] | None, seed: int
) -> Sequence[UUID]:
    """Returns `person_ids`, or a sample of the workspace. Raises ValidationError."""
    if person_ids is not None:
        return person_ids
    where = NO_FILTER if request.where is None else request.where.filter()
    return people.sample_people(connection, call.workspace_id, request.sample or 0, seed, where)


def extend(call: Call, request: Any) -> Dispatch:
    """Creates a participant that continues from a terminal one; the source does not change.

    Each extend of one source creates a participant. A call repeated with its key returns the participant of the
    first one. Raises NotFound, ValidationError, Conflict, UsageLimitReached.
    """
    extension = plan_extension(
        request.additional_steps, request.instruction, call.service.settings.max_additional_steps
    )

    def prepare(connection: Connection) -> PreparedDispatch:
        source = find(connection, call.workspace_id, Kind.PARTICIPANT, request.participant_id, "participant_id")
        resolved = {"participant_id": source.id, "instruction": extension.instruction}
        start = Start("simulation_extend", source.id, partial(meaning_of, request, **resolved))
        return start, partial(create, connection, source)

    def create(connection: Connection, source: AnyRow) -> Dispatch:
        if Status(source.status) not in TERMINAL:
            # Before the quota, which another request may satisfy. The insert decides.
            raise source_not_terminal(source.alias, Status(source.status))
        quotas.charge(call, connection, 1, iteration_id=source.iteration_id, ask_id=source.ask_id)
        child = dispatch.insert_branch(
            connection, call.workspace_id, source.id, extension.additional_steps, extension.instruction
        )
        if child is None:
            # Pruned in the meantime: then this raises NotFound.
            source = find(connection, call.workspace_id, Kind.PARTICIPANT, str(source.id), "participant_id")
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

    return dispatch_once(call, request, prepare, "extend.commit")


async def resolve_wait(call: Call, request: WaitRequest) -> Dispatch:
    """Returns the participants to wait for, each once, in the given order. Raises NotFound."""
    rows = await call.service.waiting.find(call.workspace_id, request.participant_ids)
    return ReplayedDispatch(participant_ids=[row.id for row in rows], aliases=[row.alias for row in rows])
