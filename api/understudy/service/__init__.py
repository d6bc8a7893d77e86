"""The one service behind all doors: checks, transactions, envelopes. Knows nothing of HTTP or terminals."""

from dataclasses import dataclass

from api.service.events import EventHub
from api.service.health import Readiness
from api.service.waiting import WaitRoom
from shared.notices import Notifier
from shared.queue.publisher import Publisher
from shared.settings import Settings
from shared.store.engine import Store


@dataclass(frozen=True, slots=True)
class Service:
    """What the functions of this package work with; one per process."""

    settings: Settings
    store: Store
    publisher: Publisher
    notifier: Notifier
    waiting: WaitRoom
    readiness: Readiness
    events: EventHub
