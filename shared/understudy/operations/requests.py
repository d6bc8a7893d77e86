"""What callers may send, field by field. Strict: no unknown fields, no numbers in strings, no bools for ints.

Bounds that are settings are checked by the service; what is here never changes. Source: contract section 6.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from understudy.domain.extension import DEFAULT_ADDITIONAL_STEPS, MAX_INSTRUCTION_LENGTH
from understudy.domain.filters import MAX_TERM_LENGTH, MAX_TERMS, PeopleFilter
from understudy.domain.people import MAX_AGE, MAX_CODE_LENGTH, MAX_NAME_LENGTH
from understudy.domain.variants import MAX_VARIANT_LENGTH, MAX_VARIANTS

DEFAULT_WAIT_S = 600.0
MAX_INTERACTIONS = 1_000
#: Entries of a page of a list.
DEFAULT_PAGE = 50
MAX_PAGE = 500
DEFAULT_STEP_TIMEOUT_S = 60
DEFAULT_RUN_TIMEOUT_S = 3_600
#: Longest step and longest run that an iteration may allow, in seconds.
MAX_STEP_TIMEOUT_S = 3_600
MAX_RUN_TIMEOUT_S = 86_400
MAX_SEED = 2**63 - 1
#: People of one request.
MAX_PEOPLE = 10_000

#: Characters of an Idempotency-Key.
MAX_KEY_LENGTH = 255

Modality = Literal["interactive", "chat", "text"]
#: How a study, and an ask, can be looked at.
StudyView = Literal["summary", "full", "per_participant", "transcripts"]
AskView = Literal["summary", "full", "per_participant"]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=4_000)]
Id = Annotated[str, Field(max_length=100, description="UUID or alias.")]
Steps = Annotated[
    int, Field(ge=1, le=MAX_INTERACTIONS, description="Interactions after which a participant stops.")
]
Seed = Annotated[
    int, Field(ge=0, le=MAX_SEED, description="Random seed; the same seed gives the same result.")
]
Wait = Annotated[
    bool, Field(description="Answer when all are terminal, or `timeout` has passed; else at once.")
]
Mind = Annotated[Name, Field(description="Who decides what a person does next.")]
StepTimeout = Annotated[
    float, Field(gt=0, le=MAX_STEP_TIMEOUT_S, description="Seconds that one interaction may take.")
]
RunTimeout = Annotated[float, Field(gt=0, le=MAX_RUN_TIMEOUT_S, description="Seconds that a run may take.")]
Timeout = Annotated[float, Field(gt=0, description="Seconds to wait.")]


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


# -- studies -----------------------------------------------------------------------------------------------


class SuccessRequest(Request):
    """When the assignment counts as done; both given = both must hold."""

    url_contains: Annotated[str, Field(min_length=1, max_length=1_000)] | None = Field(
        default=None, description="Part of the page's address, such as /order/."
    )
    text_contains: Annotated[str, Field(min_length=1, max_length=1_000)] | None = Field(
        default=None, description="Part of the page's text."
    )

    @model_validator(mode="after")
    def _require_condition(self) -> Self:
        if self.url_contains is None and self.text_contains is None:
            raise ValueError("give url_contains, text_contains or both, or leave success out")
        return self


class AssignmentRequest(Request):
    task: Annotated[Text, Field(description="What people are to do, in their words.")]
    success: SuccessRequest | None = None


class IterationRequest(Request):
    """One version of what people act on."""

    content: dict[str, Any] = Field(
        description='What to act on: {"environment": "web", "url": "https://…"}, or a chatbot: '
        '{"environment": "chat", "url": "https://…", "protocol": "openai", "model": "…"}, or with protocol '
        '"json" its own "request" (such as {"text": "{message}", "id": "{conversation_id}"}, or "{history}") '
        'and "response_path" (such as reply.text; "conversation_path", where the bot gives the id). '
        "Secret headers name a secret of the workers: "
        '"headers": {"Authorization": {"secret": "NAME"}}.',
        examples=[{"environment": "web", "url": "https://shop.example/"}],
    )
    max_interactions: Steps | None = None
    mind: Mind = "heuristic"
    step_timeout: StepTimeout = DEFAULT_STEP_TIMEOUT_S
    run_timeout: RunTimeout = DEFAULT_RUN_TIMEOUT_S


class StudyRequest(Request):
    name: Name
    modality: Modality = Field(description="How people act; interactive: on a website.")
    assignment: AssignmentRequest
    questions: Annotated[list[Text], Field(max_length=100)] | None = Field(
        default=None, description="What you want to learn; kept with the study."
    )
    iteration: IterationRequest | None = Field(
        default=None, description="Its first iteration, made together with the study."
    )


Term = Annotated[str, Field(min_length=1, max_length=MAX_TERM_LENGTH)]
Terms = Annotated[list[Term], Field(min_length=1, max_length=MAX_TERMS)]


class WhereRequest(Request):
    """Which people are meant: those for whom all of it holds."""

    age_min: Annotated[int, Field(ge=0, le=MAX_AGE)] | None = Field(
        default=None, description="This old or older."
    )
    age_max: Annotated[int, Field(ge=0, le=MAX_AGE)] | None = Field(
        default=None, description="This old or younger."
    )
    country: Terms | None = Field(default=None, description='One of these, such as ["DE", "AT"].')
    language: Terms | None = Field(default=None, description='One of these, such as ["de"].')
    trait: Terms | None = Field(
        default=None,
        description='All of these, such as ["patience<0.3", "accessibility=no_pointer", "income"]: a number '
        "compared (<, <=, >, >=, =), a text that it is or has, or that it is there.",
    )
    search: Annotated[str, Field(min_length=1, max_length=MAX_TERM_LENGTH)] | None = Field(
        default=None, description="Each of these words is somewhere in name, bio, country or language."
    )

    def filter(self) -> PeopleFilter:
        """Raises ValidationError."""
        return PeopleFilter.of(**self.model_dump())


class PanelRequest(Request):
    """Says who takes part, in one of two ways."""

    person_ids: Annotated[list[Id], Field(min_length=1)] | None = Field(
        default=None, description="These people. Give either this or `sample`."
    )
    sample: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Number of different people to sample, chosen by `seed`. Give either this or "
        "`person_ids`.",
    )
    where: WhereRequest | None = Field(
        default=None, description="With `sample`: only people for whom this holds."
    )

    @model_validator(mode="after")
    def _require_people_source(self) -> Self:
        if (self.person_ids is None) == (self.sample is None):
            raise ValueError("give exactly one of person_ids and sample")
        if self.where is not None and self.sample is None:
            raise ValueError("where goes with sample only")
        return self


class StudyRunRequest(PanelRequest):
    iteration_id: Id | None = Field(default=None, description="Default: the study's latest.")
    max_interactions: Steps | None = None
    seed: Seed | None = None
    wait: Wait = False
    timeout: Timeout = DEFAULT_WAIT_S


# -- asks --------------------------------------------------------------------------------------------------


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("a variant is a text, not only blanks")
    return text


Variant = Annotated[
    str,
    Field(min_length=1, max_length=MAX_VARIANT_LENGTH, json_schema_extra={"pattern": r"\S"}),
    AfterValidator(_not_blank),
]
Variants = Annotated[
    list[Variant],
    Field(min_length=1, max_length=MAX_VARIANTS, description="Texts; in answers they are A, B, C…"),
]


class AskRunRequest(PanelRequest):
    """A new ask and its first round."""

    question: Text = Field(
        description="What everybody answers, having read all variants.",
        examples=["Which headline would make you read on?"],
    )
    variants: Variants
    max_interactions: Steps | None = Field(
        default=None, description="Of each round. Default: enough to read all variants and to answer."
    )
    mind: Mind = "heuristic"
    step_timeout: StepTimeout = DEFAULT_STEP_TIMEOUT_S
    run_timeout: RunTimeout = DEFAULT_RUN_TIMEOUT_S
    seed: Seed | None = None
    wait: Wait = False
    timeout: Timeout = DEFAULT_WAIT_S


class AskRoundRequest(Request):
    """The next round of an ask, with the people of its first."""

    question: Text | None = Field(default=None, description="Default: that of the round before.")
    variants: Variants | None = Field(default=None, description="Default: those of the round before.")
    seed: Seed | None = Field(
        default=None,
        description="Default: everybody keeps the chance of round 1, so that only what is asked differs.",
    )
    wait: Wait = False
    timeout: Timeout = DEFAULT_WAIT_S


# -- people ------------------------------------------------------------------------------------------------


class PersonRequest(Request):
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    age: Annotated[int, Field(ge=0, le=MAX_AGE)]
    country: Annotated[str, Field(min_length=1, max_length=MAX_CODE_LENGTH)]
    language: Annotated[str, Field(min_length=1, max_length=MAX_CODE_LENGTH)]
    traits: dict[str, Any] = Field(default_factory=dict, description='Such as {"patience": 0.2}.')
    bio: Annotated[str, Field(max_length=4_000)] = ""


class PeopleRequest(Request):
    people: Annotated[list[PersonRequest], Field(min_length=1, max_length=MAX_PEOPLE)] = Field(
        description="Several people of your own."
    )


class CsvRequest(Request):
    csv: Annotated[str, Field(min_length=1)] = Field(
        description="People as CSV, their columns named in its first line: name, age, country, language, and "
        "maybe bio, accessibility (with semicolons between several) and trait.NAME for traits, such as "
        f"trait.patience; at most {MAX_PEOPLE:,} people. A wrong line is named, and nobody is made."
    )


class BuiltInPanelRequest(Request):
    panel: Literal["varied-50"] = Field(
        description="A panel that comes along: 50 people of many countries, ages, habits and devices."
    )


class GenerateRequest(Request):
    generate: Annotated[int, Field(ge=1, le=MAX_PEOPLE)] = Field(description="Make up so many people.")
    seed: Seed | None = None


def _request_variant(body: Any) -> str:
    """Which of the forms a body means, so that its problems are told for that one only."""
    fields = body if isinstance(body, dict) else {}
    return next((form for form in ("people", "generate", "csv", "panel") if form in fields), "person")


PersonCreateRequest = Annotated[
    Annotated[PersonRequest, Tag("person")]
    | Annotated[PeopleRequest, Tag("people")]
    | Annotated[GenerateRequest, Tag("generate")]
    | Annotated[CsvRequest, Tag("csv")]
    | Annotated[BuiltInPanelRequest, Tag("panel")],
    Discriminator(_request_variant),
]


# -- simulations -------------------------------------------------------------------------------------------


class CancelRequest(Request):
    """Exactly one scope; `round` only with `ask_id`."""

    participant_id: Id | None = Field(default=None, description="This one. UUID or alias (t-…).")
    study_id: Id | None = Field(
        default=None, description="All of the study, whatever the iteration. UUID or alias (s-…)."
    )
    iteration_id: Id | None = Field(default=None, description="All of the iteration. UUID or alias (i-…).")
    ask_id: Id | None = Field(
        default=None, description="All of the ask, or those of one `round`. UUID or alias (a-…)."
    )
    round: int | None = Field(default=None, description="Counts from 1; only with ask_id.")


class EmptyRequest(Request):
    """Nothing can be said beyond the path."""


class ExtendOptions(Request):
    additional_steps: int = Field(
        default=DEFAULT_ADDITIONAL_STEPS, description="Interactions allowed past the original cap."
    )
    instruction: str | None = Field(
        default=None,
        description="Overriding direction for the rest of the run, at most "
        f"{MAX_INSTRUCTION_LENGTH:,} characters.",
    )
    wait: Wait = False
    timeout: Timeout = DEFAULT_WAIT_S


class ExtendRequest(ExtendOptions):
    participant_id: Annotated[
        Id, Field(description="The terminal participant to go on from. UUID or alias (t-…).")
    ]


class WaitRequest(Request):
    participant_ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)]
    timeout: Timeout = DEFAULT_WAIT_S
