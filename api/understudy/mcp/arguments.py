"""Tool arguments that REST reads from the path, the query or a header. The same rules apply."""

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
    str, Field(max_length=500, description="`next_cursor` of the previous page; omit it for the first page.")
]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE, description="Maximum items of a page.")]
IdempotencyKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description=f"A text that you choose, at most {MAX_KEY_LENGTH} characters. If you repeat a call with "
        "the same key within 24 hours, it dispatches nothing and returns the result of the first call.",
    ),
]


def body_of(arguments: Request, model: type[Body]) -> Body:
    """Returns the part of `arguments` that REST accepts as its body, parsed with its model."""
    fields = arguments.model_fields_set & model.model_fields.keys()
    return model.model_validate(arguments.model_dump(include=fields))


def once(path: str, key: str | None, body: Request) -> IdempotentRequest | None:
    """Returns the identity of this call, equal over all interfaces; None without a key."""
    return None if key is None else IdempotentRequest.of(path, key, body)


class Listing(Request):
    """The page of a list."""

    cursor: Cursor | None = None
    limit: Limit = DEFAULT_PAGE

    @property
    def explicit_limit(self) -> int | None:
        """Returns the limit if the caller set one, else None: not every view has pages."""
        return self.limit if "limit" in self.model_fields_set else None

    def _reject_if_set(self, condition: str, *names: str) -> None:
        """Raises ValueError if the caller set one of `names`."""
        if present := [name for name in names if name in self.model_fields_set]:
            raise ValueError(f"{' and '.join(present)}: {condition}")


class StudyAddIterationArguments(IterationRequest):
    study_id: StudyId


class StudyRunArguments(StudyRunRequest):
    study_id: StudyId
    idempotency_key: IdempotencyKey | None = None


class StudyGetArguments(Listing):
    study_id: StudyId | None = Field(
        default=None, description="The study: UUID or alias, such as s-b2c. Omit it to list all."
    )
    view: StudyView = Field(
        default="summary",
        description="summary: counts by status, outcomes and sentiments. full: the study with its settings "
        "and iterations. per_participant: the summary and a page with one row per participant. "
        "transcripts: the summary and a page of runs as text.",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.study_id is None:
            self._reject_if_set("requires study_id", "view")
        return self


class AskRunArguments(AskRunRequest):
    idempotency_key: IdempotencyKey | None = None


class AskRoundArguments(AskRoundRequest):
    ask_id: AskId
    idempotency_key: IdempotencyKey | None = None


class AskGetArguments(Listing):
    ask_id: AskId | None = Field(
        default=None, description="The ask: UUID or alias, such as a-77e. Omit it to list all."
    )
    view: AskView = Field(
        default="summary",
        description="summary: results by round, and changes between rounds. per_participant: also a page of "
        "people and their answers. full: also the whole texts.",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.ask_id is None:
            self._reject_if_set("requires ask_id", "view")
        return self


class PersonGetArguments(Listing, WhereRequest):
    person_id: PersonId | None = Field(
        default=None, description="The person: UUID or alias, such as tp-9ab. Omit it to list all."
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.person_id is not None:
            conditions = WhereRequest.model_fields
            self._reject_if_set("only for the list, without person_id", "cursor", "limit", *conditions)
        return self

    def filter(self) -> PeopleFilter:
        """Raises ValidationError."""
        return PeopleFilter.of(**self.model_dump(include=set(WhereRequest.model_fields)))


class ParticipantGetArguments(Listing):
    participant_id: ParticipantId | None = Field(
        default=None, description="The participant: UUID or alias, such as t-1f3. Omit it to list."
    )
    view: Literal["participant", "interactions", "transcript", "journey"] = Field(
        default="participant",
        description="View of one participant. participant: its status. interactions: observation, thought, "
        "action and sentiment of each step. transcript: the run as text. journey: friction points.",
    )
    own: bool = Field(
        default=False, description="With view interactions: only own interactions, without those of the source."
    )
    study_id: StudyId | None = Field(default=None, description="Filter by study: UUID or alias.")
    iteration_id: IterationId | None = Field(default=None, description="Filter by iteration: UUID or alias.")
    ask_id: AskId | None = Field(default=None, description="Filter by ask: UUID or alias.")
    round: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Filter by round, counted from 1; requires ask_id."
    )
    status: Status | None = Field(default=None, description="Filter by status.")

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.participant_id is None:
            self._reject_if_set("requires participant_id", "view", "own")
            return self
        filters = ("study_id", "iteration_id", "ask_id", "round", "status")
        self._reject_if_set("only for the list, without participant_id", *filters)
        if self.view != "interactions":
            self._reject_if_set("only for the list or view interactions", "own", "cursor", "limit")
        return self


class ExtendArguments(ExtendRequest):
    idempotency_key: IdempotencyKey | None = None


class DocsGetArguments(Listing):
    slug: str | None = Field(default=None, description="The page, such as concepts/overview. Omit it to list all.")

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.slug is not None:
            self._reject_if_set("only for the list, without slug", "cursor", "limit")
        return self
