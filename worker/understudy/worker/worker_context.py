"""The parts of a worker process that its runs share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from understudy.domain.addresses import AllowedAddresses
from understudy.plugins.secrets import Secrets
from understudy.worker.committer import Committer


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Holds what all runs of a process share."""

    committer: Committer
    #: Returns the lease for new claims.
    worker_id: Callable[[], UUID]
    #: Returns whether the process drains: runs are released at their next interaction.
    is_shutting_down: Callable[[], bool]
    #: The addresses that participants may visit.
    addresses: AllowedAddresses
    #: True in a quarantine worker: it releases each run after one interaction. By then the run has survived
    #: what lost its workers, and others wait for the slot.
    quarantine: bool = False
    #: Secrets that environments may send.
    secrets: Secrets = field(default_factory=Secrets)
    #: Losses in a row after which a participant fails.
    max_attempts: int = 3
    #: Returns the number of runs in this process.
    count_runs: Callable[[], int] = lambda: 1
