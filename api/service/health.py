"""Are the parts there that requests need?"""

from api.service import Service
from shared.domain.errors import ServiceUnavailable
from shared.queue.publisher import BROKER_ERRORS
from shared.store import leases


def check_ready(service: Service) -> int:
    """How many worker processes live. Raises ServiceUnavailable naming what does not answer."""
    with service.store.read() as connection:
        workers = leases.live_count(connection)
    try:
        service.publisher.ping()
    except BROKER_ERRORS as error:
        raise ServiceUnavailable("The broker does not answer; what is dispatched starts later.") from error
    return workers
