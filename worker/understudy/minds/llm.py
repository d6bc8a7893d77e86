"""The mind `llm`: a language model decides in the role of the person."""

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
from understudy.plugins.allowed_workspaces import Workspace

#: Maximum characters of an invalid answer that the correction quotes.
_MAX_SHOWN = 2_000


class LanguageModelMind:
    """Asks the model of a profile (`llm:cheap`; `llm` is the profile `default`) for each decision.

    The model gets one chance to correct an invalid answer; after a second one the participant fails. The
    memory holds only the model's note.
    """

    def __init__(self, profile: str = "") -> None:
        self._profile = profile

    async def decide(self, turn: Turn) -> Decision:
        """Returns the next action. Raises ModelFailed. Cancellation is safe and closes the connection."""
        endpoint, profile = endpoint_of(self._profile, Workspace(turn.workspace, turn.workspace_name))
        return await decide(turn, endpoint, quotas.quota_for(turn.workspace, turn.study), profile.context_tokens)


async def decide(turn: Turn, endpoint: Endpoint, gate: Quota, budget: int) -> Decision:
    """Returns the decision of the model at `endpoint`. Raises ModelFailed with the usage so far."""
    messages, schema = compose(turn, budget), schema_of(turn.observation)
    reply = await endpoint.ask(messages, schema, gate)
    spent = reply.usage
    try:
        answer = _read(reply, turn)
    except InvalidDecision as invalid:
        try:
            reply = await _retry_with_error(endpoint, messages, schema, gate, reply, invalid)
        except ModelFailed as failure:
            raise failure.with_usage(_sum(spent, failure.usage)) from None
        spent = _sum(spent, reply.usage)
        try:
            answer = _read(reply, turn)
        except InvalidDecision as error:
            raise ModelFailed(f"The language model gave an invalid decision twice: {error}", spent) from None
    return Decision(answer.thought, answer.action, answer.sentiment, {"note": answer.note}, spent)


def _read(reply: Reply, turn: Turn) -> Answer:
    if reply.refusal:
        raise InvalidDecision(f"The model refused: {' '.join(reply.refusal.split())[:200]}")
    try:
        return parse_answer(reply.text, turn.observation)
    except InvalidDecision as invalid:
        if reply.cut:
            raise InvalidDecision(f"{invalid} The answer was truncated at max_output_tokens.") from None
        raise


async def _retry_with_error(
    endpoint: Endpoint,
    messages: list[Message],
    schema: Mapping[str, Any],
    gate: Quota,
    reply: Reply,
    invalid: InvalidDecision,
) -> Reply:
    """Asks again, quoting the invalid answer and its problem."""
    wrote = {"role": "assistant", "content": (reply.text or reply.refusal or "(nothing)")[:_MAX_SHOWN]}
    correction = f"That is not a valid decision. {invalid} Answer again with only the JSON object."
    return await endpoint.ask([*messages, wrote, {"role": "user", "content": correction}], schema, gate)


def _sum(first: Usage, second: Usage | None) -> Usage:
    if second is None:
        return first
    cost = None if first.cost is None or second.cost is None else first.cost + second.cost
    return replace(
        first,
        calls=first.calls + second.calls,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        seconds=round(first.seconds + second.seconds, 3),
        cost=cost,
    )
