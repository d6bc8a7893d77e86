"""`understudy demo`: starts a complete stack and the demo shop, shows the main job, stops everything."""

import shutil
import tempfile
import threading
from pathlib import Path

from rich.console import Console

from understudy.cli.terminal import make_console
from understudy.deploy.demo_scenario import DemoScenario
from understudy.deploy.ports import free_port, is_healthy
from understudy.deploy.stack import Stack, StackPlan, run_stack
from understudy.deploy.supervisor import StopRequested
from understudy.deploy.up import STARTUP_ERRORS, log_status
from understudy.settings import Settings

_SHOP_HOST = "127.0.0.1"
#: Delay of each shop page: long enough for a cancel to arrive in mid-run.
_PAGE_DELAY_S = 0.6
_SHOP_READY_S = 20
_EXIT_TIMEOUT_S = 2


def demo() -> int:
    """Shows the main job from start to end; returns exit code 0, or 1 if a check failed or it was stopped.

    Works in a temporary folder and ignores the configured store and broker. Removes the folder at the end;
    after a failure keeps it and prints its path. Ctrl-C stops everything.
    """
    folder = Path(tempfile.mkdtemp(prefix="understudy-demo-"))
    settings = Settings(data_dir=folder, database_url="", broker_url="", allow_private_hosts="true")
    out = make_console()
    out.soft_wrap = True
    try:
        out.print("Starting broker, API, workers, sweeper, Flower and the demo shop …")
        with run_stack(settings, StackPlan(port=0), log_status) as stack:
            succeeded = _show(stack, out)
            out.print("\nStopping everything …")
    except StopRequested:
        log_status("stopped before the demo finished")
        shutil.rmtree(folder, ignore_errors=True)
        return 1
    except STARTUP_ERRORS as problem:
        log_status(str(problem))
        succeeded = False
    if not succeeded:
        log_status(f"the demo failed; the logs are in {folder / 'logs'}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    out.print("Stopped. To keep a stack running: understudy up")
    return 0


def _show(stack: Stack, out: Console) -> bool:
    """Starts the shop and shows the job while supervising the stack; returns whether all checks passed."""
    port = free_port()
    shop = ["shop", "--port", str(port), "--delay-s", str(_PAGE_DELAY_S)]
    stack.supervisor.start(stack.child("shop", shop, lambda: is_healthy(_SHOP_HOST, port, "/")))
    stack.supervisor.wait_ready(_SHOP_READY_S)
    out.print(f"  API docs   {stack.url}/docs")
    if stack.flower_url:
        password = stack.flower_password_file.read_text().strip()
        out.print(f"  Flower     {stack.flower_url}  (user understudy, password {password})")
    out.print(f"  Demo shop  http://{_SHOP_HOST}:{port}/\n")

    scenario = DemoScenario(stack.url, stack.token_file.read_text().strip(), f"http://{_SHOP_HOST}:{port}/", out)
    # The supervisor stays in this thread: its child processes die with the thread that started them.
    job = threading.Thread(target=scenario.run, name="demo", daemon=True)
    job.start()
    stack.supervisor.run(until=lambda: not job.is_alive())
    if stack.supervisor.stop_requested:
        scenario.stop()
        # The scenario restores the terminal; a call that waits must not delay the stop.
        job.join(_EXIT_TIMEOUT_S)
        raise StopRequested
    return scenario.succeeded
