"""Implements ask_run and ask_round: a question to a panel, in rounds. Source: contract sections 5 and 6."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind
from understudy.domain.variants import interactions_to_answer
from understudy.envelopes.simulations import Dispatch
from understudy.operations.requests import AskRunRequest
from understudy.service.call import Call
from understudy.service.content import check_mind
from understudy.service.dispatching import PreparedDispatch, dispatch_once, resolve_people, select_people
from understudy.service.starts import Start, meaning_of
from understudy.store import Connection, asks, dispatch
from understudy.store.aliases import find
from understudy.store.asks import MAX_ROUNDS
from understudy.store.engine import AnyRow


def run_ask(call: Call, request: AskRunRequest) -> Dispatch:
    """Creates an ask, its first round and one participant per person in one transaction; dispatches them.

    A call repeated with its key returns the dispatch of the first one. Raises NotFound, ValidationError, and
    Conflict if the key was used for another request.
    """
    check_mind(request.mind)
    seed = secrets.randbits(31) if request.seed is None else request.seed

    def prepare(connection: Connection) -> PreparedDispatch:
        person_ids = resolve_people(call, connection, request)
        start = Start("ask_run", None, partial(meaning_of, request, person_ids=person_ids))
        return start, partial(create, connection, person_ids)

    def create(connection: Connection, person_ids: Sequence[UUID] | None) -> Dispatch:
        selected = select_people(call, connection, request, person_ids, seed)
        ask_id = asks.insert_ask(
            connection,
            call.workspace_id,
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
            call.workspace_id,
            selected,
            ask_id=ask_id,
            round_number=1,
            max_interactions=max_interactions,
            seed=seed,
        )
        return _dispatched(ask_id, 1, aliases, max_interactions)

    return dispatch_once(call, request, prepare, "run.commit")


def run_round(call: Call, request: Any) -> Dispatch:
    """Asks the people of round 1 again in the next round; omitted fields keep their last values.

    Two concurrent calls open two rounds. Raises NotFound, ValidationError (after MAX_ROUNDS rounds),
    Conflict.
    """

    def prepare(connection: Connection) -> PreparedDispatch:
        ask = find(connection, call.workspace_id, Kind.ASK, request.ask_id, "ask_id")
        start = Start("ask_round", ask.id, partial(meaning_of, request, ask_id=ask.id))
        return start, partial(create, connection, ask)

    def create(connection: Connection, ask: AnyRow) -> Dispatch:
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
            call.workspace_id,
            [participant.person_id for participant in panel],
            ask_id=ask.id,
            round_number=number,
            max_interactions=max_interactions,
            # The seeds of round 1: a different answer then comes from the question or the variants.
            seed=[participant.seed for participant in panel] if request.seed is None else request.seed,
        )
        return _dispatched(ask.id, number, aliases, max_interactions)

    return dispatch_once(call, request, prepare, "run.commit")


def _dispatched(ask_id: UUID, number: int, aliases: dict[UUID, str], max_interactions: int) -> Dispatch:
    return Dispatch(
        participant_ids=list(aliases),
        aliases=list(aliases.values()),
        ask_id=ask_id,
        round=number,
        max_interactions=max_interactions,
    )
