"""Request models of all operations that read: over REST their fields are query parameters."""

from typing import Annotated, Literal

from pydantic import Field

from understudy.envelopes.base import Status
from understudy.operations.request_base import Request
from understudy.operations.requests import DEFAULT_PAGE, MAX_PAGE, AskView, Id, StudyView, WhereRequest

Cursor = Annotated[
    str, Field(max_length=500, description="`next_cursor` of the previous page; omit it for the first page.")
]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE, description="Maximum items of a page.")]


class NoQuery(Request):
    """A request without query parameters."""


class ListQuery(Request):
    """One page of a list, in order of creation."""

    limit: Limit = DEFAULT_PAGE
    cursor: Cursor | None = None


class OverviewQuery(ListQuery):
    """One page of a list of studies or asks."""

    newest_first: bool = Field(default=False, description="Newest first; else in order of creation.")


class StudyQuery(Request):
    view: StudyView = Field(
        default="summary",
        description="summary: counts by status, outcomes and sentiments. full: the study with its settings "
        "and iterations. per_participant: the summary and a page with one row per participant. "
        "transcripts: the summary and a page of runs as text.",
    )
    limit: Limit | None = Field(default=None, description=f"Maximum items of a page. Default: {DEFAULT_PAGE}.")
    cursor: Cursor | None = None


class AskQuery(Request):
    view: AskView = Field(
        default="summary",
        description="summary: results by round, and changes between rounds. per_participant: also a page of "
        "people and their answers. full: also the whole texts.",
    )
    limit: Limit | None = Field(default=None, description=f"Maximum items of a page. Default: {DEFAULT_PAGE}.")
    cursor: Cursor | None = None


class PeopleQuery(ListQuery, WhereRequest):
    """A page of the people who meet all conditions."""


class PeopleExportQuery(WhereRequest):
    format: Literal["json", "csv"] = Field(default="json", description="`json`, or `csv` for spreadsheets.")


class _ParticipantFilter(Request):
    study_id: Id | None = Field(default=None, description="Filter by study: UUID or alias.")
    iteration_id: Id | None = Field(default=None, description="Filter by iteration: UUID or alias.")
    ask_id: Id | None = Field(default=None, description="Filter by ask: UUID or alias.")
    round: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Filter by round, counted from 1; requires ask_id."
    )
    status: Status | None = Field(default=None, description="Filter by status.")


class ParticipantsQuery(ListQuery, _ParticipantFilter):
    """A page of the participants of at most one scope."""


class _InteractionFilter(Request):
    own: bool = Field(
        default=False, description="Only own interactions, without those inherited from the source of an extend."
    )


class InteractionsQuery(ListQuery, _InteractionFilter):
    """A page of interactions."""
