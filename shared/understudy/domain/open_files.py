"""How many open files a worker needs, and the limit that it sets for itself."""

from understudy.domain.errors import ValidationError

#: Store, broker, logs, event loops and name resolution. An idle worker has 21; 30 more are a full pool of SQLite.
BASE_OPEN_FILES = 100
#: Two connections to the visited site and one to the model. 100 runs on a site of one machine had 124 files in all.
OPEN_FILES_PER_RUN = 3


def required_open_files(concurrency: int) -> int:
    """Returns how many open files a worker of this concurrency needs at most."""
    return BASE_OPEN_FILES + OPEN_FILES_PER_RUN * concurrency


def select_soft_limit(concurrency: int, soft: int | None, hard: int | None) -> int | None:
    """Returns the soft limit for a worker, given the current limits; None is no limit.

    Never lowers it. Raises ValidationError if even the hard limit is too low.
    """
    required = required_open_files(concurrency)
    if hard is not None and hard < required:
        raise ValidationError(
            f"{concurrency} concurrent simulations need {required} open files, but the hard limit is {hard}: "
            f"raise it (`ulimit -n {required}`), or pass a lower --concurrency."
        )
    return soft if soft is None or soft >= required else required
