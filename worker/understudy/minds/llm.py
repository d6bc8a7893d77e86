"""The mind `llm`: a language model decides, as the person it is told to be."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from understudy.domain.simulation import Decision, Turn, Usage
from understudy.models import ModelFailed
from understudy.models.answer import Answer, InvalidDecision, parse_answer, schema_of
from understudy.models.endpoint.endpoint import Endpoint, Reply, endpoint_of
from understudy.models.endpoint.usage_meter import Quota
from understudy.models.prompt import Message, compose
from understudy.models.quotas import quotas

#: Characters of a wrong answer that are shown to the model again.
_MAX_SHOWN = 2_000


class LanguageModelMind:
    """Asks the model of a profile (`llm:cheap`; `llm` is the profile `default`) what the person does.

    An answer that is no decision is told so to the model once; if it errs again the participant fails. What
    the model noted for later, and nothing else, is remembered.
    """

    def __init__(self, profile: str = "") -> None:
        self._profile = profile

    async def decide(self, turn: Turn) -> Decision:
        """The next action. Raises ModelFailed; may be cancelled at any time, which closes the connection."""
        endpoint, profile = endpoint_of(self._profile)
        return await decide(
            turn, endpoint, quotas.quota_for(turn.workspace, turn.study), profile.context_tokens
        )


async def decide(turn: Turn, endpoint: Endpoint, gate: Quota, budget: int) -> Decision:
    """What the model at `endpoint` makes of `turn`. Raises ModelFailed with what was spent on it."""
    messages, schema = compose(turn, budget), schema_of(turn.observation)
    reply = await endpoint.ask(messages, schema, gate)
    spent = reply.usage
    try:
        answer = _read(reply, turn)
    except InvalidDecision as misread:
        try:
            reply = await _retry_with_error(endpoint, messages, schema, gate, reply, misread)
        except ModelFailed as failure:
            raise ModelFailed(str(failure), _sum(spent, failure.usage)) from None
        spent = _sum(spent, reply.usage)
        try:
            answer = _read(reply, turn)
        except InvalidDecision as still:
            raise ModelFailed(f"The language model gave no decision, told so once: {still}", spent) from None
    return Decision(answer.thought, answer.action, answer.sentiment, {"note": answer.note}, spent)


def _read(reply: Reply, turn: Turn) -> Answer:
    if reply.refusal:
        raise InvalidDecision(f"The model refused: {' '.join(reply.refusal.split())[:200]}")
    try:
        return parse_answer(reply.text, turn.observation)
    except InvalidDecision as misread:
        if reply.cut:
            raise InvalidDecision(f"{misread} It was cut off at max_output_tokens.") from None
        raise


async def _retry_with_error(
    endpoint: Endpoint,
    messages: list[Message],
    schema: Mapping[str, Any],
    gate: Quota,
    reply: Reply,
    misread: InvalidDecision,
) -> Reply:
    """Show the model what it wrote and what is wrong with it."""
    wrote = {"role": "assistant", "content": (reply.text or reply.refusal or "(nothing)")[:_MAX_SHOWN]}
    told = f"That is no decision. {misread} Answer again with the JSON object, and nothing else."
    return await endpoint.ask([*messages, wrote, {"role": "user", "content": told}], schema, gate)


def _sum(one: Usage, other: Usage | None) -> Usage:
    if other is None:
        return one
    cost = None if one.cost is None or other.cost is None else one.cost + other.cost
    return replace(
        one,
        calls=one.calls + other.calls,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        seconds=round(one.seconds + other.seconds, 3),
        cost=cost,
    )
