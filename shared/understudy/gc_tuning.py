"""The collector of garbage, as our processes want it."""

import gc

#: Objects that are made before the collector looks for garbage among them.
THRESHOLD = 20_000


def raise_gc_threshold() -> None:
    """From now on, for as long as this process lives.

    What is imported, what hundreds of runs hold, or an answer of thousands, is no garbage: looking through it
    every few hundred objects takes a tenth of a worker's start and of the time of many short runs, and a
    sixth of that of a cancel of 100,000.
    """
    gc.set_threshold(THRESHOLD)


def freeze_gc_objects() -> None:
    """What is there by now stays, and is looked through no more. Called before the first work."""
    gc.collect()
    gc.freeze()
