"""Functions that a lane's child process calls in tests."""

import os
import signal
import time
from typing import Any

_kept: list[bytes] = []


def answer(question: Any, body: bytes) -> Any:
    """Does what the question says."""
    match question["do"]:
        case "count":
            return {"bytes": len(body), "pid": os.getpid()}
        case "spin":
            while True:
                pass
        case "eat":
            while True:
                _kept.append(b"x" * 10_000_000)
        case "grow":
            _kept.append(b"x" * 90_000_000)
            return {"pid": os.getpid()}
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fail":
            raise ValueError("no such page")
        case "secret":
            return os.environ.get("UNDERSTUDY_LLM_API_KEY", "none")
        case "wait":
            time.sleep(question["s"])
            return {"pid": os.getpid()}
    return None
