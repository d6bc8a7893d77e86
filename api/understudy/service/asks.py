"""Implements ask_run and ask_round: a question to a panel, in rounds. Source: contract sections 5 and 6."""

import secrets
from uuid import UUID

from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind
from understudy.domain.variants import interactions_to_answer
from understudy.envelopes.simulations import Dispatch
from understudy.operations.requests import AskRoundRequest, AskRunRequest
from understudy.service import Service
from understudy.service.dispatching import IdempotentRequest, dispatch_idempotent, select_people
from understudy.service.studies import check_mind
from understudy.store import Connection, asks, dispatch
from understudy.store.aliases import find
from understudy.store.asks import MAX_ROUNDS


def run_ask(
    service: Service, workspace_id: UUID, request: AskRunRequest, once: IdempotentRequest | None = None
) -> Dispatch:
    """Creates an ask, its first round and one participant per person in one transaction; dispatches them.

    With `once`, a repeated request returns the dispatch of the first one. Raises NotFound,
    ValidationError, and Conflict if the key was used for another request.
    """
    check_mind(request.mind)
    seed = secrets.randbits(31) if request.seed is None else request.seed

    def create(connection: Connection) -> Dispatch:
        person_ids = select_people(service, connection, workspace_id, request, seed)
        ask_id = asks.insert_ask(
            connection,
            workspace_id,
            question=request.question,
            max_interactions=request.max_interactions,
            mind=request.mind,
            step_timeout_s=request.step_timeout,
            run_timeout_s=request.run_timeout,
        )
        number = asks.open_round(connection, ask_id)
        assert number == 1
        asks.insert_round(connection, ask_id, 1, question=request.question, variants=request.variants)
        max_interactions = request.max_interactions or interactions_to_answer(request.variants)
        aliases = dispatch.insert_participants(
            connection,
            workspace_id,
            person_ids,
            ask_id=ask_id,
            round_number=1,
            max_interactions=max_interactions,
            seed=seed,
        )
        return _dispatched(ask_id, 1, aliases, max_interactions)

    return dispatch_idempotent(service, workspace_id, create, once, "run.commit")


def run_round(
    service: Service,
    workspace_id: UUID,
    ask_ref: str,
    request: AskRoundRequest,
    once: IdempotentRequest | None = None,
) -> Dispatch:
    """Asks the people of round 1 again in the next round; omitted fields keep their last values.

    Two concurrent calls open two rounds. Raises NotFound, ValidationError (after MAX_ROUNDS rounds),
    Conflict.
    """

    def create(connection: Connection) -> Dispatch:
        ask = find(connection, workspace_id, Kind.ASK, ask_ref, "ask_id")
        number = asks.open_round(connection, ask.id)
        if number is None:
            raise ValidationError(
                f"Ask {ask.alias} already has the maximum of {MAX_ROUNDS} rounds.",
                suggestions=("Begin a new ask with ask_run.",),
            )
        before = asks.round_of(connection, ask.id, number - 1)
        variants = request.variants or before.variants
        question = request.question or before.question
        asks.insert_round(connection, ask.id, number, question=question, variants=variants)
        panel = asks.panel(connection, ask.id)
        if not panel:
            raise ValidationError(
                f"Ask {ask.alias} has no people left: retention deleted the participants of its first round.",
                suggestions=("Begin a new ask with ask_run.",),
            )
        max_interactions = ask.max_interactions or interactions_to_answer(variants)
        aliases = dispatch.insert_participants(
            connection,
            workspace_id,
            [participant.person_id for participant in panel],
            ask_id=ask.id,
            round_number=number,
            max_interactions=max_interactions,
            # The seeds of round 1: a different answer then comes from the question or the variants.
            seed=[participant.seed for participant in panel] if request.seed is None else request.seed,
        )
        return _dispatched(ask.id, number, aliases, max_interactions)

    return dispatch_idempotent(service, workspace_id, create, once, "run.commit")


def _dispatched(ask_id: UUID, number: int, aliases: dict[UUID, str], max_interactions: int) -> Dispatch:
    return Dispatch(
        participant_ids=list(aliases),
        aliases=list(aliases.values()),
        ask_id=ask_id,
        round=number,
        max_interactions=max_interactions,
    )
