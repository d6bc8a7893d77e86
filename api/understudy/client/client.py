"""The Python client: every tool of contract section 6 as a method.

    with Understudy() as understudy:
        study = understudy.study_create("Pickers", assignment={"task": "Read the shop in German"},
                                        iteration={"content": {"environment": "web", "url": url}})
        run = understudy.study_run(study.id, sample=5, wait=True)

Methods return the models of `understudy.envelopes`, take UUIDs or aliases as ids, and raise the errors of
`understudy.domain.errors`. `study_run`, `ask_run`, `ask_round`, `simulation_extend` and `simulation_wait`
return a RunStudyResponse; its `ok` is false if nothing was dispatched or the wait timed out.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Self, overload

import httpx

from understudy.client.arguments import Cursor, Id, Json, Limit, path_segment, text, wait_fields
from understudy.client.ask_calls import AskCalls
from understudy.client.docs_calls import DocsCalls
from understudy.client.event_calls import EventCalls
from understudy.client.person_calls import PersonCalls
from understudy.client.server_address import ServerAddress, find_server_address
from understudy.client.transport import RawResponse, Transport
from understudy.domain.ids import Kind
from understudy.envelopes.base import Page
from understudy.envelopes.journeys import Journey
from understudy.envelopes.participants import Interaction, Participant, Transcript
from understudy.envelopes.simulations import CancelEnvelope, RunFailure, RunSuccess
from understudy.envelopes.studies import (
    Iteration,
    Study,
    StudyFull,
    StudyPerParticipant,
    StudySummary,
    StudyTranscripts,
)
from understudy.operations.requests import StudyView


class Understudy(AskCalls, DocsCalls, EventCalls, PersonCalls):
    """A synchronous client of one workspace. Threads may share it; close it or use it in a `with`.

    Without `server` or `token` it reads `UNDERSTUDY_SERVER` and `UNDERSTUDY_TOKEN`, then the files of
    `understudy up` in `UNDERSTUDY_DATA_DIR`. `timeout_s` limits one response in seconds; a waiting call adds
    its own timeout. `on_answer` receives the unchanged JSON of each response before the client parses it.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        on_answer: Callable[[bytes], None] | None = None,
        transport: httpx.BaseTransport | None = None,
        wire: httpx.BaseTransport | None = None,
    ) -> None:
        if server is None or token is None:
            found = find_server_address()
            server = found.server if server is None else server
            token = found.token if token is None else token
        self._transport = Transport(
            ServerAddress(server, token), timeout_s=timeout_s, on_answer=on_answer, transport=transport or wire
        )

    @property
    def server(self) -> str:
        return self._transport.server

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Json | None = None,
        body: Json | None = None,
        wait_s: float = 0.0,
    ) -> RawResponse:
        """Calls any endpoint and returns its unchanged JSON. `wait_s`: seconds that the request waits."""
        return self._transport.call(
            method,
            path,
            params=params,
            body=body,
            wait_s=wait_s,
            is_idempotent=method == "GET",
            run_response=True,
        )

    # -- studies -------------------------------------------------------------------------------------------

    def study_create(
        self,
        name: str,
        *,
        assignment: Json,
        modality: str = "interactive",
        questions: Sequence[str] | None = None,
        iteration: Json | None = None,
    ) -> StudyFull:
        """Creates a study; with `iteration` also its iteration A."""
        return self._transport.post(
            StudyFull,
            "/v1/studies",
            {
                "name": name,
                "modality": modality,
                "assignment": assignment,
                "questions": questions,
                "iteration": iteration,
            },
        )

    def study_add_iteration(
        self,
        study_id: Id,
        *,
        content: Json,
        max_interactions: int | None = None,
        mind: str | None = None,
        step_timeout: float | None = None,
        run_timeout: float | None = None,
    ) -> Iteration:
        return self._transport.post(
            Iteration,
            f"/v1/studies/{path_segment(Kind.STUDY, study_id)}/iterations",
            {
                "content": content,
                "max_interactions": max_interactions,
                "mind": mind,
                "step_timeout": step_timeout,
                "run_timeout": run_timeout,
            },
        )

    def study_run(
        self,
        study_id: Id,
        *,
        iteration_id: Id | None = None,
        person_ids: Sequence[Id] | None = None,
        sample: int | None = None,
        where: Json | None = None,
        max_interactions: int | None = None,
        seed: int | None = None,
        wait: bool = False,
        timeout: float = 600.0,
        idempotency_key: str | None = None,
    ) -> RunSuccess | RunFailure:
        """Dispatches one participant per person; with `wait`, waits at most `timeout` seconds for all.

        Calls with the same `idempotency_key` within 24 hours dispatch once.
        """
        body = {
            "iteration_id": text(iteration_id),
            "person_ids": None if person_ids is None else [str(id_) for id_ in person_ids],
            "sample": sample,
            "where": where,
            "max_interactions": max_interactions,
            "seed": seed,
            **wait_fields(wait, timeout),
        }
        path = f"/v1/studies/{path_segment(Kind.STUDY, study_id)}/run"
        return self._transport.run(path, body, wait_s=timeout if wait else None, idempotency_key=idempotency_key)

    def study_list(self, *, limit: Limit = None, cursor: Cursor = None) -> Page[Study]:
        return self._transport.get(Page[Study], "/v1/studies", {"limit": limit, "cursor": cursor})

    @overload
    def study_get(self, study_id: Id, view: Literal["summary"]) -> StudySummary: ...
    @overload
    def study_get(self, study_id: Id, view: Literal["full"] = "full") -> StudyFull: ...
    @overload
    def study_get(
        self, study_id: Id, view: Literal["per_participant"], *, limit: Limit = None, cursor: Cursor = None
    ) -> StudyPerParticipant: ...
    @overload
    def study_get(
        self, study_id: Id, view: Literal["transcripts"], *, limit: Limit = None, cursor: Cursor = None
    ) -> StudyTranscripts: ...
    def study_get(
        self, study_id: Id, view: StudyView = "full", *, limit: Limit = None, cursor: Cursor = None
    ) -> StudySummary | StudyFull | StudyPerParticipant | StudyTranscripts:
        """Returns a study in one of its views; `limit` and `cursor` page the views with participants."""
        models: dict[str, type[StudySummary | StudyFull]] = {
            "summary": StudySummary,
            "full": StudyFull,
            "per_participant": StudyPerParticipant,
            "transcripts": StudyTranscripts,
        }
        return self._transport.get(
            models[view],
            f"/v1/studies/{path_segment(Kind.STUDY, study_id)}",
            {"view": view, "limit": limit, "cursor": cursor},
        )

    # -- participants --------------------------------------------------------------------------------------

    def participant_get(self, participant_id: Id) -> Participant:
        return self._transport.get(Participant, f"/v1/participants/{path_segment(Kind.PARTICIPANT, participant_id)}")

    def participant_list(
        self,
        *,
        study_id: Id | None = None,
        iteration_id: Id | None = None,
        ask_id: Id | None = None,
        round: int | None = None,  # noqa: A002 - the documented name
        status: str | None = None,
        limit: Limit = None,
        cursor: Cursor = None,
    ) -> Page[Participant]:
        return self._transport.get(
            Page[Participant],
            "/v1/participants",
            {
                "study_id": text(study_id),
                "iteration_id": text(iteration_id),
                "ask_id": text(ask_id),
                "round": round,
                "status": status,
                "limit": limit,
                "cursor": cursor,
            },
        )

    def participant_interactions(
        self, participant_id: Id, *, own: bool = False, limit: Limit = None, cursor: Cursor = None
    ) -> Page[Interaction]:
        """Returns the interactions of the lineage, oldest first; with `own` only this participant's."""
        return self._transport.get(
            Page[Interaction],
            f"/v1/participants/{path_segment(Kind.PARTICIPANT, participant_id)}/interactions",
            {"own": "true" if own else None, "limit": limit, "cursor": cursor},
        )

    def participant_transcript(self, participant_id: Id) -> Transcript:
        return self._transport.get(
            Transcript, f"/v1/participants/{path_segment(Kind.PARTICIPANT, participant_id)}/transcript"
        )

    def participant_journey(self, participant_id: Id) -> Journey:
        """Returns the thoughts, sentiment curve and friction points of the lineage, and where it gave up."""
        path = f"/v1/participants/{path_segment(Kind.PARTICIPANT, participant_id)}/journey"
        return self._transport.get(Journey, path)

    # -- simulations ---------------------------------------------------------------------------------------

    def simulation_cancel(
        self,
        *,
        participant_id: Id | None = None,
        study_id: Id | None = None,
        iteration_id: Id | None = None,
        ask_id: Id | None = None,
        round: int | None = None,  # noqa: A002 - the tool's documented name
    ) -> CancelEnvelope:
        """Cancels all active participants of exactly one scope; final when it returns, and safe to repeat."""
        body = {
            "participant_id": text(participant_id),
            "study_id": text(study_id),
            "iteration_id": text(iteration_id),
            "ask_id": text(ask_id),
            "round": round,
        }
        return self._transport.post(CancelEnvelope, "/v1/simulations/cancel", body, is_idempotent=True)

    def simulation_extend(
        self,
        participant_id: Id,
        *,
        additional_steps: int = 10,
        instruction: str | None = None,
        wait: bool = False,
        timeout: float = 600.0,
        idempotency_key: str | None = None,
    ) -> RunSuccess | RunFailure:
        """Continues from the last interaction of a terminal participant as a new participant.

        Each call creates another one, except calls with the same `idempotency_key`. To wait again, use
        `simulation_wait`.
        """
        body = {
            "participant_id": str(participant_id),
            "additional_steps": additional_steps,
            "instruction": instruction,
            **wait_fields(wait, timeout),
        }
        return self._transport.run(
            "/v1/simulations/extend",
            body,
            wait_s=timeout if wait else None,
            idempotency_key=idempotency_key,
        )

    def simulation_wait(self, participant_ids: Sequence[Id], *, timeout: float = 600.0) -> RunSuccess | RunFailure:
        """Waits until all are terminal, or `timeout` seconds. An ended wait does not affect the runs."""
        body = {"participant_ids": [str(id_) for id_ in participant_ids], "timeout": timeout}
        return self._transport.run("/v1/simulations/wait", body, wait_s=timeout, is_idempotent=True)

    def health(self) -> dict[str, Any]:
        """Returns the readiness of the server. Raises ServiceUnavailable if it is not ready."""
        return self._transport.get(dict[str, Any], "/readyz", needs_token=False)
