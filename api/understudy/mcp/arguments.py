"""What tools take that REST takes out of the path, the query or a header: the same rules, as arguments."""

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from understudy.domain.filters import PeopleFilter
from understudy.envelopes.base import Status
from understudy.operations.requests import (
    DEFAULT_PAGE,
    MAX_KEY_LENGTH,
    MAX_PAGE,
    AskRoundRequest,
    AskRunRequest,
    AskView,
    ExtendRequest,
    Id,
    IterationRequest,
    Request,
    StudyRunRequest,
    StudyView,
    WhereRequest,
)
from understudy.service.dispatching import IdempotentRequest

Body = TypeVar("Body", bound=Request)

StudyId = Annotated[Id, Field(description="The study: UUID or alias, such as s-b2c.")]
IterationId = Annotated[Id, Field(description="The iteration: UUID or alias, such as i-4d1.")]
ParticipantId = Annotated[Id, Field(description="The participant: UUID or alias, such as t-1f3.")]
PersonId = Annotated[Id, Field(description="The person: UUID or alias, such as tp-9ab.")]
AskId = Annotated[Id, Field(description="The ask: UUID or alias, such as a-77e.")]
Cursor = Annotated[
    str, Field(max_length=500, description="`next_cursor` of the page before; leave it out for the first.")
]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE, description="Most items of a page.")]
IdempotencyKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description=f"A text of your own choice, at most {MAX_KEY_LENGTH} characters. The same call sent "
        "again with the same key within 24 hours dispatches nothing new and answers with what the first one "
        "made.",
    ),
]


def body_of(arguments: Request, model: type[Body]) -> Body:
    """The part of `arguments` that REST takes as its body, as it would have been parsed there."""
    given = arguments.model_fields_set & model.model_fields.keys()
    return model.model_validate(arguments.model_dump(include=given))


def once(path: str, key: str | None, body: Request) -> IdempotentRequest | None:
    """How a repetition of this call is known, through whatever door it comes; None without a key."""
    return None if key is None else IdempotentRequest.of(path, key, body)


class Listing(Request):
    """Which page of a list."""

    cursor: Cursor | None = None
    limit: Limit = DEFAULT_PAGE

    @property
    def explicit_limit(self) -> int | None:
        """None where none was given: not everything has pages."""
        return self.limit if "limit" in self.model_fields_set else None

    def _reject_if_set(self, unless: str, *names: str) -> None:
        """Raises ValueError when one of `names` was given."""
        if wrong := [name for name in names if name in self.model_fields_set]:
            raise ValueError(f"{' and '.join(wrong)}: {unless}")


class StudyAddIterationArguments(IterationRequest):
    study_id: StudyId


class StudyRunArguments(StudyRunRequest):
    study_id: StudyId
    idempotency_key: IdempotencyKey | None = None


class StudyGetArguments(Listing):
    study_id: StudyId | None = Field(
        default=None, description="The study: UUID or alias, such as s-b2c. Leave it out for a list of all."
    )
    view: StudyView = Field(
        default="summary",
        description="summary: how many stand where, outcomes, feelings. full: the study as it was set up, "
        "with its iterations. per_participant: the summary, and a page of rows, one for each participant. "
        "transcripts: the summary, and a page of whole runs in words.",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.study_id is None:
            self._reject_if_set("only together with study_id", "view")
        return self


class AskRunArguments(AskRunRequest):
    idempotency_key: IdempotencyKey | None = None


class AskRoundArguments(AskRoundRequest):
    ask_id: AskId
    idempotency_key: IdempotencyKey | None = None


class AskGetArguments(Listing):
    ask_id: AskId | None = Field(
        default=None, description="The ask: UUID or alias, such as a-77e. Leave it out for a list of all."
    )
    view: AskView = Field(
        default="summary",
        description="summary: by round, and what changed between rounds. per_participant: the same with a "
        "page of people and their answers. full: with the whole texts too.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ask_id is None:
            self._reject_if_set("only together with ask_id", "view")
        return self


class PersonGetArguments(Listing, WhereRequest):
    person_id: PersonId | None = Field(
        default=None, description="The person: UUID or alias, such as tp-9ab. Leave it out for a list of all."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.person_id is not None:
            conditions = WhereRequest.model_fields
            self._reject_if_set("only for the list, without person_id", "cursor", "limit", *conditions)
        return self

    def filter(self) -> PeopleFilter:
        """Raises ValidationError."""
        return PeopleFilter.of(**self.model_dump(include=set(WhereRequest.model_fields)))


class ParticipantGetArguments(Listing):
    participant_id: ParticipantId | None = Field(
        default=None,
        description="The participant: UUID or alias, such as t-1f3. Leave it out for a list.",
    )
    view: Literal["participant", "interactions", "transcript", "journey"] = Field(
        default="participant",
        description="Of one participant. participant: where it stands. interactions: each step with what was "
        "seen, thought, done and felt. transcript: the whole run in words. journey: where it was hard.",
    )
    own: bool = Field(
        default=False,
        description="With view interactions: only what this participant did itself, not what it inherited "
        "from the one it extends.",
    )
    study_id: StudyId | None = Field(default=None, description="List only this study's. UUID or alias.")
    iteration_id: IterationId | None = Field(
        default=None, description="List only this iteration's. UUID or alias."
    )
    ask_id: AskId | None = Field(default=None, description="List only this ask's. UUID or alias.")
    round: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="List only those of this round, counted from 1; only with ask_id."
    )
    status: Status | None = Field(default=None, description="List only those with this status.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.participant_id is None:
            self._reject_if_set("only together with participant_id", "view", "own")
            return self
        filters = ("study_id", "iteration_id", "ask_id", "round", "status")
        self._reject_if_set("only for the list, without participant_id", *filters)
        if self.view != "interactions":
            self._reject_if_set("only for the list or view interactions", "own", "cursor", "limit")
        return self


class ExtendArguments(ExtendRequest):
    idempotency_key: IdempotencyKey | None = None


class DocsGetArguments(Listing):
    slug: str | None = Field(
        default=None, description="The page, such as concepts/overview. Leave it out for the list of all."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.slug is not None:
            self._reject_if_set("only for the list, without slug", "cursor", "limit")
        return self
