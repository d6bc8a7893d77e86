"""What runs participants in a process, once it is through."""

from typing import Any

from understudy.worker.runner import Runner


def test_told_to_abort_everything_after_its_end_it_does_nothing() -> None:
    nobody: Any = None
    runner = Runner(nobody, nobody, nobody)
    runner.close()
    # The thread that sees to it that the process ends must not be ended by this.
    runner.abort_all()
