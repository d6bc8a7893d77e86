"""Giving events their positions: done by who serves readers of them, and by the sweeper."""

from understudy import faults
from understudy.store import events
from understudy.store.engine import Store


def give_positions(store: Store, *, transactions: int | None = None, patient: bool = False) -> bool:
    """Give positions to events that wait for one; False: none are left, or somebody else is about it.

    One cheap read when there are none. Ends after so many `transactions`, if told; True: more are waiting. If
    `patient`, every event that was committed before the call has its position when this returns False.
    Raises ServiceUnavailable when the store does not answer.
    """
    while transactions is None or transactions > 0:
        with store.read() as connection:
            if not events.has_unsequenced(connection):
                return False
        with faults.fault_site("positions.commit"):
            given = store.write(lambda connection: events.assign_positions(connection, wait_for_lock=patient))
        if given < events.MAX_POSITIONS:
            return False
        transactions = transactions and transactions - 1
    return True
