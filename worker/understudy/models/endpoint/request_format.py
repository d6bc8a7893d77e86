"""Request format: how to ask one server for a decision, learned from the requests that it rejects."""

from dataclasses import dataclass, replace

#: Ways to ask for a decision, strictest first. After a rejection the next one is used.
FORMATS = ("json_schema", "json_object", "text")


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """Describes the requests that one server is known to accept."""

    #: Index into `FORMATS`.
    format: int = 0
    #: Send no system message and never two messages of one role in a row.
    plain: bool = False
    tokens_field: str = "max_tokens"

    def after(self, message: str) -> "RequestFormat | None":
        """Returns the format to try after a rejection with this message; None if no other is left."""
        text = message.casefold()
        if "max_completion_tokens" in text and self.tokens_field == "max_tokens":
            return replace(self, tokens_field="max_completion_tokens")
        if not self.plain and ("alternat" in text or "system role" in text):
            return replace(self, plain=True)
        if self.format + 1 < len(FORMATS):
            return replace(self, format=self.format + 1)
        return None
