"""The client methods for people."""

from collections.abc import Sequence
from typing import Literal, overload

from understudy.client.arguments import Cursor, Id, Json, Limit, path_segment
from understudy.client.transport import Transport
from understudy.domain.ids import Kind
from understudy.envelopes.base import Page
from understudy.envelopes.people import Panel, People, Person


class PersonCalls:
    """The part of `understudy.client.client.Understudy` for people."""

    _transport: Transport

    @overload
    def person_create(self, person: Json) -> Person: ...
    @overload
    def person_create(self, *, people: Sequence[Json]) -> People: ...
    @overload
    def person_create(self, *, generate: int, seed: int | None = None) -> People: ...
    @overload
    def person_create(self, *, csv: str) -> People: ...
    @overload
    def person_create(self, *, panel: str) -> People: ...
    def person_create(
        self,
        person: Json | None = None,
        *,
        people: Sequence[Json] | None = None,
        generate: int | None = None,
        seed: int | None = None,
        csv: str | None = None,
        panel: str | None = None,
    ) -> Person | People:
        """Creates one person, several (also from CSV), `generate` random ones (reproducible with `seed`), or
        a built-in panel."""
        if person is not None:
            return self._transport.post(Person, "/v1/people", person)
        body = {"people": people, "generate": generate, "seed": seed, "csv": csv, "panel": panel}
        return self._transport.post(People, "/v1/people", body)

    def person_list(
        self,
        *,
        age_min: int | None = None,
        age_max: int | None = None,
        country: Sequence[str] | None = None,
        language: Sequence[str] | None = None,
        trait: Sequence[str] | None = None,
        search: str | None = None,
        limit: Limit = None,
        cursor: Cursor = None,
    ) -> Page[Person]:
        """Returns the people that match all conditions, in order of creation; see the guide on people."""
        where = _where(age_min, age_max, country, language, trait, search)
        return self._transport.get(Page[Person], "/v1/people", where | {"limit": limit, "cursor": cursor})

    @overload
    def person_export(self, where: Json | None = None, format: Literal["json"] = "json") -> Panel: ...
    @overload
    def person_export(self, where: Json | None, format: Literal["csv"]) -> str: ...
    def person_export(
        self,
        where: Json | None = None,
        format: Literal["json", "csv"] = "json",  # noqa: A002 - the documented name
    ) -> Panel | str:
        """Exports all people that match `where`, at most 10,000, for an import elsewhere."""
        names = {"age_min", "age_max", "country", "language", "trait", "search"}
        conditions = _where(**{name: (where or {}).get(name) for name in names})
        if format == "json":
            return self._transport.get(Panel, "/v1/people/export", conditions)
        answer = self._transport.call("GET", "/v1/people/export", params=conditions | {"format": format})
        return answer.body.decode()

    def person_get(self, person_id: Id) -> Person:
        return self._transport.get(Person, f"/v1/people/{path_segment(Kind.PERSON, person_id)}")


def _where(
    age_min: int | None,
    age_max: int | None,
    country: Sequence[str] | None,
    language: Sequence[str] | None,
    trait: Sequence[str] | None,
    search: str | None,
) -> dict[str, str | int | None]:
    return {
        "age_min": age_min,
        "age_max": age_max,
        "country": None if country is None else ",".join(country),
        "language": None if language is None else ",".join(language),
        "trait": None if trait is None else ",".join(trait),
        "search": search,
    }
