"""ask_run and ask_round: a question to a panel, round by round. Source: contract sections 5 and 6."""

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
    """Store an ask with its first round and a participant per person, in one transaction; have them run.

    With `once`, a repeated request is answered with what the first one made. Raises NotFound,
    ValidationError, and Conflict when the key was used for something else.
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
        most = request.max_interactions or interactions_to_answer(request.variants)
        aliases = dispatch.insert_participants(
            connection,
            workspace_id,
            person_ids,
            ask_id=ask_id,
            round_number=1,
            max_interactions=most,
            seed=seed,
        )
        return _dispatched(ask_id, 1, aliases, most)

    return dispatch_idempotent(service, workspace_id, create, once, "run.commit")


def run_round(
    service: Service,
    workspace_id: UUID,
    ask_ref: str,
    request: AskRoundRequest,
    once: IdempotentRequest | None = None,
) -> Dispatch:
    """Ask the people of round 1 once more, in the next round; what is not given is as in the last one.

    Of two at once each opens a round of its own, as long as there may be more. Raises NotFound,
    ValidationError (after MAX_ROUNDS rounds), Conflict.
    """

    def create(connection: Connection) -> Dispatch:
        ask = find(connection, workspace_id, Kind.ASK, ask_ref, "ask_id")
        number = asks.open_round(connection, ask.id)
        if number is None:
            raise ValidationError(
                f"Ask {ask.alias} has had its {MAX_ROUNDS} rounds; there are no more.",
                suggestions=("Begin a new ask with ask_run.",),
            )
        before = asks.round_of(connection, ask.id, number - 1)
        variants = request.variants or before.variants
        question = request.question or before.question
        asks.insert_round(connection, ask.id, number, question=question, variants=variants)
        panel = asks.panel(connection, ask.id)
        if not panel:
            raise ValidationError(
                f"Ask {ask.alias} has nobody left to ask: its first round ended long ago and was removed.",
                suggestions=("Begin a new ask with ask_run.",),
            )
        most = ask.max_interactions or interactions_to_answer(variants)
        aliases = dispatch.insert_participants(
            connection,
            workspace_id,
            [one.person_id for one in panel],
            ask_id=ask.id,
            round_number=number,
            max_interactions=most,
            # The chance of round 1: what is answered differently is so because of what is asked.
            seed=[one.seed for one in panel] if request.seed is None else request.seed,
        )
        return _dispatched(ask.id, number, aliases, most)

    return dispatch_idempotent(service, workspace_id, create, once, "run.commit")


def _dispatched(ask_id: UUID, number: int, aliases: dict[UUID, str], max_interactions: int) -> Dispatch:
    return Dispatch(
        participant_ids=list(aliases),
        aliases=list(aliases.values()),
        ask_id=ask_id,
        round=number,
        max_interactions=max_interactions,
    )
