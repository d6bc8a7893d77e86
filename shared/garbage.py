"""The collector of garbage, as a server wants it."""

import gc

#: Objects that are made before the collector looks for garbage among them.
THRESHOLD = 20_000


def look_seldom() -> None:
    """From now on; called before all that is imported, a process starts a tenth sooner."""
    gc.set_threshold(THRESHOLD)


def leave_what_is_here() -> None:
    """What is there by now stays, and is looked through no more; from now on it is looked seldom.

    What hundreds of runs hold, or an answer of thousands, is no garbage: looking through it every few hundred
    objects takes a tenth of the time of many short runs, and a sixth of that of a cancel of 100,000.
    """
    gc.collect()
    gc.freeze()
    look_seldom()
