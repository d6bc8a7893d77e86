"""The operations on people: reusable profiles."""

from understudy.envelopes.base import Page
from understudy.envelopes.people import Panel, People, Person
from understudy.operations.operation import Operation, Tier
from understudy.operations.queries import NoQuery, PeopleExportQuery, PeopleQuery
from understudy.operations.requests import PersonCreateRequest

PERSON_CREATE = Operation(
    "person_create",
    "POST",
    "/v1/people",
    Tier.WRITE,
    ("person", "write"),
    "Create people",
    """\
Create people: profiles that can take part in any number of studies and asks.

Use exactly one form. Random people, the simplest form: `generate` (number) and optionally `seed` (the same seed
generates the same people). A built-in panel: `panel`. Several own people: `people`, each with the fields of one
person, or `csv`. One own person: `name`, `age`, `country`, `language`, and optionally `traits` (such as
{"patience": 0.2}) and `bio`. Returns the person, or `items` with all people. study_run and ask_run select people by
`sample` or by id.""",
    PersonCreateRequest,
    Person | People,
    starts=True,
    location="/v1/people/{id}",
    example={"generate": 20, "seed": 7},
)

PERSON_LIST = Operation(
    "person_list",
    "GET",
    "/v1/people",
    Tier.READ_ONLY,
    ("person", "read"),
    "List people",
    "List the people who meet all conditions, in order of creation.",
    PeopleQuery,
    Page[Person],
    example={"age_min": 65, "limit": 20},
)

PERSON_EXPORT = Operation(
    "person_export",
    "GET",
    "/v1/people/export",
    Tier.READ_ONLY,
    ("person", "read"),
    "Export people",
    "Export the people who meet all conditions, at most 10,000, as JSON or CSV for a later import.",
    PeopleExportQuery,
    Panel,
    example={"format": "json"},
)

PERSON_GET = Operation(
    "person_get",
    "GET",
    "/v1/people/{person_id}",
    Tier.READ_ONLY,
    ("person", "read"),
    "Get a person",
    "Get the profile of one person.",
    NoQuery,
    Person,
)
