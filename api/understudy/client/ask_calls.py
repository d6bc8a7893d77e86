"""The client methods for asks."""

from collections.abc import Sequence
from typing import Literal, overload

from understudy.client.arguments import Cursor, Id, Json, Limit, path_segment, text, wait_fields
from understudy.client.transport import Transport
from understudy.domain.ids import Kind
from understudy.envelopes.asks import Ask, AskFull, AskPerParticipant, AskSummary
from understudy.envelopes.base import Page
from understudy.envelopes.simulations import RunFailure, RunSuccess
from understudy.operations.requests import AskView


class AskCalls:
    """The part of `understudy.client.client.Understudy` for asks."""

    _transport: Transport

    def ask_run(
        self,
        question: str,
        variants: Sequence[str],
        *,
        person_ids: Sequence[Id] | None = None,
        sample: int | None = None,
        where: Json | None = None,
        max_interactions: int | None = None,
        mind: str | None = None,
        step_timeout: float | None = None,
        run_timeout: float | None = None,
        seed: int | None = None,
        wait: bool = False,
        timeout: float = 600.0,
        idempotency_key: str | None = None,
    ) -> RunSuccess | RunFailure:
        """Creates an ask with round 1: people pick one of several texts.

        With `wait`, returns when all participants are terminal or after `timeout` seconds; `ask_get` returns
        the answers. Calls with the same `idempotency_key` within 24 hours create one ask.
        """
        body = {
            "question": question,
            "variants": list(variants),
            "person_ids": None if person_ids is None else [text(id_) for id_ in person_ids],
            "sample": sample,
            "where": where,
            "max_interactions": max_interactions,
            "mind": mind,
            "step_timeout": step_timeout,
            "run_timeout": run_timeout,
            "seed": seed,
            **wait_fields(wait, timeout),
        }
        return self._transport.run("/v1/asks", body, wait_s=timeout if wait else None, idempotency_key=idempotency_key)

    def ask_round(
        self,
        ask_id: Id,
        *,
        question: str | None = None,
        variants: Sequence[str] | None = None,
        seed: int | None = None,
        wait: bool = False,
        timeout: float = 600.0,
        idempotency_key: str | None = None,
    ) -> RunSuccess | RunFailure:
        """Asks the same people again, at most five rounds; omitted values stay as in the round before."""
        body = {
            "question": question,
            "variants": None if variants is None else list(variants),
            "seed": seed,
            **wait_fields(wait, timeout),
        }
        path = f"/v1/asks/{path_segment(Kind.ASK, ask_id)}/rounds"
        return self._transport.run(path, body, wait_s=timeout if wait else None, idempotency_key=idempotency_key)

    def ask_list(self, *, limit: Limit = None, cursor: Cursor = None) -> Page[Ask]:
        return self._transport.get(Page[Ask], "/v1/asks", {"limit": limit, "cursor": cursor})

    @overload
    def ask_get(self, ask_id: Id, view: Literal["summary"] = "summary") -> AskSummary: ...
    @overload
    def ask_get(self, ask_id: Id, view: Literal["full"], *, limit: Limit = None, cursor: Cursor = None) -> AskFull: ...
    @overload
    def ask_get(
        self,
        ask_id: Id,
        view: Literal["per_participant"],
        *,
        limit: Limit = None,
        cursor: Cursor = None,
    ) -> AskPerParticipant: ...
    def ask_get(
        self, ask_id: Id, view: AskView = "summary", *, limit: Limit = None, cursor: Cursor = None
    ) -> AskSummary | AskPerParticipant | AskFull:
        """Returns an ask by round; `limit` and `cursor` page the people of the larger views."""
        models: dict[str, type[AskSummary]] = {
            "summary": AskSummary,
            "full": AskFull,
            "per_participant": AskPerParticipant,
        }
        path = f"/v1/asks/{path_segment(Kind.ASK, ask_id)}"
        return self._transport.get(models[view], path, {"view": view, "limit": limit, "cursor": cursor})
