"""Takes the ticket out of the address of an event stream, and checks it in place of a token."""

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode

from starlette.types import Scope

from understudy.domain.errors import AuthFailed
from understudy.service import Service
from understudy.service.call_limits import Limits, limits_in_force
from understudy.store.tickets import Ticket, authenticate_ticket
from understudy.store.workspaces import get_workspace

#: The only request that a ticket opens.
PATH = "/v1/events"
_PARAMETER = "ticket"


def take_ticket(scope: Scope) -> str | None:
    """Returns the ticket that opens this request, or None; removes it, so that nothing behind logs or repeats it."""
    parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    tickets = [value for name, value in parameters if name == _PARAMETER]
    if not tickets:
        return None
    opens = scope["path"] == PATH and scope["method"] == "GET"
    # Elsewhere it is an unknown parameter.
    others = [(name, value) for name, value in parameters if name != _PARAMETER] + [(_PARAMETER, "")] * (not opens)
    scope["query_string"] = urlencode(others).encode("latin-1")
    # Two of them are no valid one.
    return " ".join(tickets) if opens else None


def find_tickets(service: Service, tickets: Sequence[str]) -> dict[str, tuple[Ticket, Limits] | Exception]:
    """Returns each ticket with the limits of its workspace, or the AuthFailed error of an invalid one."""
    found: dict[str, tuple[Ticket, Limits] | Exception] = {}
    with service.store.read() as connection:
        for ticket in tickets:
            try:
                valid = authenticate_ticket(connection, ticket)
                found[ticket] = valid, limits_in_force(service.settings, get_workspace(connection, valid.workspace_id))
            except AuthFailed as error:
                found[ticket] = error
    return found
