"""Row 3: many participants at once in one process, each with a step that waits a second."""

from collections.abc import Iterator

from tests.bench.figures import Comparison, at_most
from tests.bench.installation import Bench, Installation, peak_memory_mb

NUMBER = 3
NAME = "500 participants whose steps wait 1 s each, one process"


def measure(bench: Bench) -> Iterator[Comparison]:
    count, wait_s = bench.size(500, 5), 0.05 if bench.smoke else 1.0
    memory: dict[str, list[float]] = {"ours": [], "theirs": []}

    def ours() -> float:
        with bench.stage() as stage:
            took_s, peak_mb = on_stage(stage, count, wait_s)
            memory["ours"].append(peak_mb)
            return took_s

    def saq() -> float | None:
        answer = bench.rival("saq_wait", broker_url=bench.broker_url, count=count, wait_s=wait_s)
        if answer is None:
            return None
        memory["theirs"].append(answer["peak_memory_mb"])
        return float(answer["took_s"])

    mine, theirs = bench.interleave(ours, saq)
    yield Comparison(NAME, "s", mine, "saq", theirs, at_most(1.2))
    # Compared with a bound, not with saq, whose figure is there to be seen.
    more = {"saq_peak_memory_mb": memory["theirs"]}
    yield Comparison("memory of that process at its highest", "MB", memory["ours"], goal=at_most(120), more=more)


def on_stage(stage: Installation, count: int, wait_s: float) -> tuple[float, float]:
    """Seconds from the first claim to the last end, and the most memory that the process held, in MB."""
    ids = stage.participants(count, wait_s=wait_s)
    stage.publish(ids)
    (worker,) = stage.fleet.start("run-1", concurrency=count)
    stage.finish(ids)
    peak_mb = peak_memory_mb(worker.popen.pid)
    worker.stop()
    return stage.took_s(ids), peak_mb
