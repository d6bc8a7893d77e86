"""Assigns positions to events. Event streams and the sweeper call it."""

from understudy import faults
from understudy.store import events
from understudy.store.engine import Store


def give_positions(store: Store, *, transactions: int | None = None, patient: bool = False) -> bool:
    """Assigns positions to committed events; returns True if more remain after `transactions`.

    Returns False if none remain, or if another process is assigning. With `patient`, it waits for that
    process: then every event committed before the call has a position. One cheap read if there is no such
    event. Raises ServiceUnavailable if the store is unavailable.
    """
    while transactions is None or transactions > 0:
        with store.read() as connection:
            if not events.has_unsequenced(connection):
                return False
        with faults.fault_site("positions.commit"):
            count = store.write(lambda connection: events.assign_positions(connection, wait_for_lock=patient))
        if count < events.MAX_POSITIONS:
            return False
        transactions = transactions and transactions - 1
    return True
