"""Roles of tokens: what a token may do in its workspace. Source: contract sections 7 and 8."""

from enum import StrEnum

from understudy.domain.errors import PermissionDenied


class Role(StrEnum):
    """Each role may also do what the ones before it may."""

    #: Reads.
    VIEWER = "viewer"
    #: Creates, runs, cancels and extends.
    EDITOR = "editor"
    #: Deletes.
    ADMIN = "admin"

    def may(self, needed: "Role") -> bool:
        """Returns whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


def check_role(role: Role, needed: Role, action: str) -> None:
    """Raises PermissionDenied if a token of this role may not do `action`, which needs the role `needed`."""
    if not role.may(needed):
        raise PermissionDenied(
            f"{action} needs a token with the role {needed}; this token's role is {role}.",
            suggestions=(f"Ask an operator for one: understudy token create --workspace NAME --role {needed}.",),
        )
