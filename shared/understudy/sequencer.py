"""Assigns positions to events. Event streams and the sweeper call it."""

from understudy import faults
from understudy.store import events
from understudy.store.engine import Store


def assign_positions(store: Store, *, max_transactions: int | None = None, wait_for_lock: bool = False) -> bool:
    """Assigns positions to committed events; returns True if more remain after `transactions`.

    Returns False if none remain, or if another process is assigning. With `patient`, it waits for that
    process: then every event committed before the call has a position. One cheap read if there is no such
    event. Raises ServiceUnavailable if the store is unavailable.
    """
    while max_transactions is None or max_transactions > 0:
        with store.read() as connection:
            if not events.has_unsequenced(connection):
                return False
        with faults.fault_site("positions.commit"):
            count = store.write(lambda connection: events.assign_positions(connection, wait_for_lock=wait_for_lock))
        if count < events.MAX_POSITIONS:
            return False
        max_transactions = max_transactions and max_transactions - 1
    return True
