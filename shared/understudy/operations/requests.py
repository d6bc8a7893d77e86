"""Request models of all operations. Strict: no unknown fields, no numbers in strings, no bools for ints.

The service checks bounds that are settings; the bounds in this module are fixed. Source: contract section 6.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from understudy.domain.extension import DEFAULT_ADDITIONAL_STEPS, MAX_INSTRUCTION_LENGTH
from understudy.domain.filters import MAX_TERM_LENGTH, MAX_TERMS, PeopleFilter
from understudy.domain.people import MAX_AGE, MAX_CODE_LENGTH, MAX_NAME_LENGTH, MAX_TRAITS, MAX_TRAITS_KIB, check_traits
from understudy.domain.time_limits import MAX_RUN_TIMEOUT_S, MAX_STEP_TIMEOUT_S
from understudy.domain.variants import MAX_VARIANT_LENGTH, MAX_VARIANTS
from understudy.operations.request_base import Name, Request
from understudy.operations.success_request import SuccessRequest

DEFAULT_WAIT_S = 600.0
MAX_INTERACTIONS = 1_000
#: Default and maximum number of items on a page.
DEFAULT_PAGE = 50
MAX_PAGE = 500
DEFAULT_STEP_TIMEOUT_S = 60
DEFAULT_RUN_TIMEOUT_S = 3_600
MAX_SEED = 2**63 - 1
#: Maximum people of one request.
MAX_PEOPLE = 10_000
#: Maximum size of such a request, and of an export.
MAX_PEOPLE_BYTES = 16 * 1024 * 1024

#: Maximum characters of an id.
MAX_ID_LENGTH = 100
#: Maximum characters of an Idempotency-Key.
MAX_KEY_LENGTH = 255

Modality = Literal["interactive", "chat", "text"]
#: Views of a study and of an ask.
StudyView = Literal["summary", "full", "per_participant", "transcripts"]
AskView = Literal["summary", "full", "per_participant"]
Text = Annotated[str, Field(min_length=1, max_length=4_000)]
Id = Annotated[str, Field(max_length=MAX_ID_LENGTH, description="UUID or alias.")]
Steps = Annotated[int, Field(ge=1, le=MAX_INTERACTIONS, description="Maximum interactions per participant.")]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED, description="Random seed; the same seed gives the same result.")]
Wait = Annotated[bool, Field(description="Wait until all are terminal or `timeout` passes; otherwise answer at once.")]
Mind = Annotated[Name, Field(description="Mind that decides for the participants.")]
StepTimeout = Annotated[float, Field(gt=0, le=MAX_STEP_TIMEOUT_S, description="Maximum seconds of one interaction.")]
RunTimeout = Annotated[float, Field(gt=0, le=MAX_RUN_TIMEOUT_S, description="Maximum seconds of a run.")]
Timeout = Annotated[float, Field(gt=0, description="Maximum wait in seconds.")]


#: Maximum of a limit of participants that run at once.
MAX_RUNNING = 1_000_000


# -- studies -----------------------------------------------------------------------------------------------


class AssignmentRequest(Request):
    task: Annotated[Text, Field(description="Task of the participants, in their own words.")]
    success: SuccessRequest | None = None


class IterationRequest(Request):
    """One version of the content that people act on."""

    #: An object with `environment`; the server checks the rest with the model of that environment.
    content: dict[str, Any] = Field(
        description="Environment to act on.", examples=[{"environment": "web", "url": "https://shop.example/"}]
    )
    max_interactions: Steps | None = None
    mind: Mind = "heuristic"
    step_timeout: StepTimeout = DEFAULT_STEP_TIMEOUT_S
    run_timeout: RunTimeout = DEFAULT_RUN_TIMEOUT_S


Term = Annotated[str, Field(min_length=1, max_length=MAX_TERM_LENGTH)]
Terms = Annotated[list[Term], Field(min_length=1, max_length=MAX_TERMS)]


class WhereRequest(Request):
    """Filter of people: all conditions must hold."""

    age_min: Annotated[int, Field(ge=0, le=MAX_AGE)] | None = Field(default=None, description="Minimum age in years.")
    age_max: Annotated[int, Field(ge=0, le=MAX_AGE)] | None = Field(default=None, description="Maximum age in years.")
    country: Terms | None = Field(default=None, description='One of these countries, such as ["DE", "AT"].')
    language: Terms | None = Field(default=None, description='One of these languages, such as ["de"].')
    trait: Terms | None = Field(
        default=None,
        description='All of these, such as ["patience<0.3", "accessibility=no_pointer", "income"]: compare a '
        "number (<, <=, >, >=, =), match or contain a text (=), or require that the trait exists.",
    )
    search: Annotated[str, Field(min_length=1, max_length=MAX_TERM_LENGTH)] | None = Field(
        default=None, description="Words that must all occur in name, bio, country or language."
    )

    def filter(self) -> PeopleFilter:
        """Returns the filter. Raises ValidationError."""
        return PeopleFilter.of(**self.model_dump())


class PanelRequest(Request):
    """Selects the people that take part: by `person_ids` or by `sample`."""

    person_ids: Annotated[list[Id], Field(min_length=1)] | None = Field(
        default=None, description="People by UUID or alias. Give either this or `sample`."
    )
    sample: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Number of different people to sample, chosen by `seed`. Give either this or `person_ids`.",
    )
    where: WhereRequest | None = Field(
        default=None, description="With `sample`: sample only people who match this filter."
    )

    @model_validator(mode="after")
    def _require_people_source(self) -> Self:
        if (self.person_ids is None) == (self.sample is None):
            raise ValueError("give exactly one of person_ids and sample")
        if self.where is not None and self.sample is None:
            raise ValueError("where requires sample")
        return self


class RunRequest(PanelRequest):
    """The people of a run, and its length."""

    max_interactions: Steps | None = None
    seed: Seed | None = None
    wait: Wait = False
    timeout: Timeout = DEFAULT_WAIT_S


class StudyRunRequest(RunRequest):
    iteration_id: Id | None = Field(default=None, description="Default: the study's latest iteration.")


class StudyRequest(Request):
    name: Name
    modality: Modality = Field(
        default="interactive", description="`interactive`: a website; `chat`: a chatbot; `text`: texts."
    )
    assignment: AssignmentRequest
    questions: Annotated[list[Text], Field(max_length=100)] | None = Field(
        default=None, description="Questions that you want to answer; stored with the study."
    )
    max_running: Annotated[int, Field(ge=1, le=MAX_RUNNING)] | None = Field(
        default=None, description="Maximum participants of the study that run at once; others wait. Default: no limit."
    )
    iteration: IterationRequest | None = Field(
        default=None, description="First iteration, created together with the study."
    )
    run: RunRequest | None = Field(
        default=None, description="Run of this iteration, created in the same transaction; requires `iteration`."
    )

    @model_validator(mode="after")
    def _require_iteration(self) -> Self:
        if self.run is not None and self.iteration is None:
            raise ValueError("run requires iteration")
        return self


# -- asks --------------------------------------------------------------------------------------------------


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("a variant must contain more than white space")
    return text


Variant = Annotated[
    str,
    Field(min_length=1, max_length=MAX_VARIANT_LENGTH, json_schema_extra={"pattern": r"\S"}),
    AfterValidator(_not_blank),
]
Variants = Annotated[
    list[Variant],
    Field(min_length=1, max_length=MAX_VARIANTS, description="Texts to compare; answers label them A, B, C…"),
]


class AskRunRequest(PanelRequest):
    """A new ask with its first round."""

    question: Text = Field(
        description="Question that each person answers after reading all variants.",
        examples=["Which headline would make you read on?"],
    )
    variants: Variants
    max_interactions: Steps | None = Field(
        default=None, description="Maximum per round. Default: enough to read all variants and to answer."
    )
    mind: Mind = "heuristic"
    step_timeout: StepTimeout = DEFAULT_STEP_TIMEOUT_S
    run_timeout: RunTimeout = DEFAULT_RUN_TIMEOUT_S
    seed: Seed | None = None
    wait: Wait = False
    timeout: Timeout = DEFAULT_WAIT_S


class AskRoundRequest(Request):
    """The next round of an ask, with the people of its first round."""

    question: Text | None = Field(default=None, description="Default: question of the previous round.")
    variants: Variants | None = Field(default=None, description="Default: variants of the previous round.")
    seed: Seed | None = Field(
        default=None,
        description="Default: each person keeps the seed of round 1, so only question and variants differ.",
    )
    wait: Wait = False
    timeout: Timeout = DEFAULT_WAIT_S


# -- people ------------------------------------------------------------------------------------------------


class PersonRequest(Request):
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    age: Annotated[int, Field(ge=0, le=MAX_AGE)]
    country: Annotated[str, Field(min_length=1, max_length=MAX_CODE_LENGTH)]
    language: Annotated[str, Field(min_length=1, max_length=MAX_CODE_LENGTH)]
    #: Without `maxProperties`: a published schema of a request never becomes narrower.
    traits: Annotated[dict[str, Any], AfterValidator(check_traits)] = Field(
        default_factory=dict,
        description=f'Traits, such as {{"patience": 0.2}}; at most {MAX_TRAITS} names and {MAX_TRAITS_KIB} KiB.',
    )
    bio: Annotated[str, Field(max_length=4_000)] = ""


class PeopleRequest(Request):
    people: Annotated[list[PersonRequest], Field(min_length=1, max_length=MAX_PEOPLE)] = Field(
        description="Profiles of several people."
    )


class CsvRequest(Request):
    csv: Annotated[str, Field(min_length=1)] = Field(
        description="People as CSV with a header line: name, age, country, language, and optionally bio, "
        "accessibility (needs separated by semicolons) and trait.NAME for traits, such as trait.patience; "
        f"at most {MAX_PEOPLE:,} people. If a line is invalid, the error names it and creates no people."
    )


class BuiltInPanelRequest(Request):
    panel: Literal["varied-50"] = Field(
        description="Built-in panel: 50 people of many countries, ages, habits and devices."
    )


class GenerateRequest(Request):
    generate: Annotated[int, Field(ge=1, le=MAX_PEOPLE)] = Field(description="Number of people to generate.")
    seed: Seed | None = None


def _request_variant(body: Any) -> str:
    """Returns the form that a body has, so that errors refer to this form only."""
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

    participant_id: Id | None = Field(default=None, description="One participant. UUID or alias (t-…).")
    study_id: Id | None = Field(
        default=None, description="All participants of the study, in every iteration. UUID or alias (s-…)."
    )
    iteration_id: Id | None = Field(default=None, description="All participants of it. UUID or alias (i-…).")
    ask_id: Id | None = Field(
        default=None, description="All participants of the ask, or of one `round`. UUID or alias (a-…)."
    )
    round: int | None = Field(default=None, description="Number of the round, from 1; only with ask_id.")


class EmptyRequest(Request):
    """A body without fields: the path contains all input."""


class ExtendOptions(Request):
    additional_steps: int = Field(
        default=DEFAULT_ADDITIONAL_STEPS, description="Interactions to allow beyond the source's cap."
    )
    instruction: str | None = Field(
        default=None,
        description="Instruction that overrides the assignment for the rest of the run, at most "
        f"{MAX_INSTRUCTION_LENGTH:,} characters.",
    )
    wait: Wait = False
    timeout: Timeout = DEFAULT_WAIT_S


class ExtendRequest(ExtendOptions):
    participant_id: Annotated[Id, Field(description="Terminal participant to continue from. UUID or alias (t-…).")]


class WaitRequest(Request):
    participant_ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)]
    timeout: Timeout = DEFAULT_WAIT_S
