"""The service that all interfaces call: checks, transactions, envelopes. Independent of HTTP and CLI."""

from dataclasses import dataclass

from understudy.queue.notifications import Notifier
from understudy.queue.publisher import Publisher
from understudy.service.call_limits import CallLimiter
from understudy.service.credentials import CredentialWatch
from understudy.service.events import EventHub
from understudy.service.health import Readiness
from understudy.service.waiters import WaiterRegistry
from understudy.settings import Settings
from understudy.store.engine import Store


@dataclass(frozen=True, slots=True)
class Service:
    """The dependencies of this package's functions; one instance per process."""

    settings: Settings
    store: Store
    publisher: Publisher
    notifier: Notifier
    waiting: WaiterRegistry
    readiness: Readiness
    events: EventHub
    limits: CallLimiter
    credentials: CredentialWatch
