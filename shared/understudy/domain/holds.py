"""Why a pending participant may not run yet although a slot may be free: a pause, or a limit that delays."""

from enum import StrEnum
from typing import NamedTuple


class DefaultLimits(NamedTuple):
    """The limits of workspaces that have none of their own."""

    #: Participants of a workspace that may visit the same public site at once.
    per_site: int = 20
    #: Participants of a workspace that may run at once; 0: no limit.
    running: int = 0
    weight: float = 1


STANDARD_LIMITS = DefaultLimits()


class HoldKind(StrEnum):
    """The pauses and limits that hold participants back."""

    STUDY_PAUSED = "study paused"
    WORKSPACE_PAUSED = "workspace paused"
    STUDY_LIMIT = "limit of the study"
    WORKSPACE_LIMIT = "limit of the workspace"
    SITE_LIMIT = "limit of the site"


class Hold(NamedTuple):
    """One pause or limit."""

    kind: HoldKind
    #: The limit; 0 for a pause.
    limit: int = 0
    site: str = ""
    #: Alias of the study, if that is paused.
    study: str = ""

    @property
    def is_pause(self) -> bool:
        """Returns whether it ends only when somebody resumes what is paused."""
        return self.kind in {HoldKind.STUDY_PAUSED, HoldKind.WORKSPACE_PAUSED}

    @property
    def sentence(self) -> str:
        """Returns it in words for callers."""
        people = f"{self.limit:,} participant" + ("" if self.limit == 1 else "s")
        match self.kind:
            case HoldKind.STUDY_PAUSED:
                return f"Study {self.study} is paused. To continue: `understudy resume {self.study}`."
            case HoldKind.WORKSPACE_PAUSED:
                return "The operator has paused this workspace."
            case HoldKind.STUDY_LIMIT:
                return f"At most {people} of this study may run at once."
            case HoldKind.WORKSPACE_LIMIT:
                return f"At most {people} of this workspace may run at once."
            case HoldKind.SITE_LIMIT:
                return f"At most {people} of this workspace may visit {self.site} at once."
