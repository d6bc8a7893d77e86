"""The runner: aborts after its end."""

from typing import Any

from understudy.worker.runner import Runner


def test_abort_all_after_close_returns_and_starts_nothing() -> None:
    unused: Any = None
    runner = Runner(unused, unused, unused)
    runner.close()
    # The thread that ends the process calls this last; an exception would end that thread first.
    runner.abort_all()
    assert runner.loop.is_closed()
    assert runner.claims() == {}
