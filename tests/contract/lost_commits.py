"""A store whose connection is lost right after a commit."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from understudy.domain.errors import ServiceUnavailable
from understudy.store.engine import Store

UNAVAILABLE = ServiceUnavailable("The store does not answer.")


class LostCommits:
    """Raises ServiceUnavailable after the first `limit` commits of a store."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limit = 0
        self.count = 0
        #: Which commits are lost, by what they return; and whether the store can be read afterwards.
        self.is_lost: Callable[[Any], bool] = lambda _: True
        self.can_read = True
        self.after_commit: Callable[[], object] = lambda: None
        write, read = store.write, store.read

        def write_and_lose(work: Callable[[Connection], Any]) -> Any:
            done = write(work)
            if threading.current_thread().name.startswith("call-limits"):
                # The counts of calls are commits of their own, before those of the operation.
                return done
            if self.count < self.limit and self.is_lost(done):
                self.count += 1
                self.after_commit()
                raise UNAVAILABLE
            return done

        def read_or_fail() -> Any:
            if self.count and not self.can_read:
                raise UNAVAILABLE
            return read()

        monkeypatch.setattr(store, "write", write_and_lose)
        monkeypatch.setattr(store, "read", read_or_fail)
