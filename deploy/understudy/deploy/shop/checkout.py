"""Checkout form: its fields and the errors in a customer's input."""

from dataclasses import dataclass, field

from understudy.deploy.shop.texts import translate

#: Country codes and the names shown in every language.
COUNTRIES = {
    "AT": "Österreich",
    "AU": "Australia",
    "BE": "Belgique / België",
    "BR": "Brasil",
    "CA": "Canada",
    "CH": "Schweiz / Suisse",
    "DE": "Deutschland",
    "DK": "Danmark",
    "ES": "España",
    "FR": "France",
    "GB": "United Kingdom",
    "IE": "Ireland",
    "IN": "India",
    "IT": "Italia",
    "JP": "日本",
    "MX": "México",
    "NL": "Nederland",
    "PL": "Polska",
    "SE": "Sverige",
    "US": "United States",
    "XX": "Other",
}

#: Typed fields in order, and whether each is marked as required. The phone is required but not marked.
FIELDS = {"name": True, "email": True, "phone": False, "address": True, "zip": True}
_MAX_CHARS = 200


@dataclass
class Customer:
    """Input of the checkout form."""

    values: dict[str, str] = field(default_factory=dict)
    country: str = ""
    accepts: bool = False

    @classmethod
    def from_form(cls, form: dict[str, str]) -> "Customer":
        values = {name: form.get(name, "").strip()[:_MAX_CHARS] for name in FIELDS}
        return cls(values, form.get("country", ""), "terms" in form)

    def problems(self, language: str) -> list[str]:
        """Returns the error messages in the customer's language; empty if the input is complete."""
        missing = [name for name, marked in FIELDS.items() if marked and not self.values[name]]
        if self.country not in COUNTRIES:
            missing.append("country")
        problems = []
        if missing:
            problems.append(translate(language, "missing", ", ".join(translate(language, name) for name in missing)))
        if self.values["email"] and "@" not in self.values["email"].strip("@"):
            problems.append(translate(language, "bad_email"))
        if not self.accepts:
            problems.append(translate(language, "accept_terms"))
        if not problems and sum(map(str.isdigit, self.values["phone"])) < 5:
            problems.append(translate(language, "something_wrong"))
        return problems
