"""Tunes the garbage collector for long-lived processes."""

import gc

#: New objects that start a collection of the youngest generation.
THRESHOLD = 20_000


def raise_gc_threshold() -> None:
    """Raises the collection threshold for the lifetime of this process.

    Imports, hundreds of runs and large responses create live objects. With the default threshold, collections
    take a tenth of a worker's start and of many short runs, and a sixth of a cancel of 100,000.
    """
    gc.set_threshold(THRESHOLD)


def freeze_gc_objects() -> None:
    """Excludes all current objects from later collections. Call it before the first work."""
    gc.collect()
    gc.freeze()
