"""`understudy demo`: the main job on the demo shop, with everything it needs started and stopped for it."""

import shutil
import tempfile
import threading
from pathlib import Path

from rich.console import Console

from understudy.deploy.demo_scenario import DemoScenario
from understudy.deploy.ports import free_port, is_healthy
from understudy.deploy.stack import Stack, StackPlan, run_stack
from understudy.deploy.supervisor import StopRequested
from understudy.deploy.up import STARTUP_ERRORS, log_status
from understudy.settings import Settings

_SHOP_HOST = "127.0.0.1"
#: What a page of the shop takes: long enough for a cancel in mid-run to be one.
_PAGE_DELAY_S = 0.6
_SHOP_READY_S = 20
_LEAVE_S = 2
#: Columns of what is not read on a terminal.
_FILE_WIDTH = 120


def demo() -> int:
    """Shows the main job from start to end; returns the exit code: 1 if anything did not happen as it should.

    Works in a folder of its own and takes no notice of stores and brokers that are set up; the folder is
    removed in the end, or kept and named when something went wrong. Ctrl-C stops everything.
    """
    folder = Path(tempfile.mkdtemp(prefix="understudy-demo-"))
    settings = Settings(data_dir=folder, database_url="", broker_url="", allow_private_hosts=True)
    out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = _FILE_WIDTH
    try:
        out.print("Starting broker, API, workers, sweeper, Flower and the demo shop …")
        with run_stack(settings, StackPlan(port=0), log_status) as stack:
            went_well = _show(stack, out)
            out.print("\nStopping everything …")
    except StopRequested:
        log_status("stopped before the demo was through")
        shutil.rmtree(folder, ignore_errors=True)
        return 1
    except STARTUP_ERRORS as problem:
        log_status(str(problem))
        went_well = False
    if not went_well:
        log_status(f"the demo failed; the logs are in {folder / 'logs'}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    out.print("Stopped. Keep such a stack running with: understudy up")
    return 0


def _show(stack: Stack, out: Console) -> bool:
    """Starts the shop and shows the job, the stack being watched. False unless all of it went well."""
    port = free_port()
    shop = ["shop", "--port", str(port), "--delay-s", str(_PAGE_DELAY_S)]
    stack.supervisor.start(stack.child("shop", shop, lambda: is_healthy(_SHOP_HOST, port, "/")))
    stack.supervisor.wait_ready(_SHOP_READY_S)
    out.print(f"  API docs   {stack.url}/docs")
    if stack.flower_url:
        password = stack.flower_password_file.read_text().strip()
        out.print(f"  Flower     {stack.flower_url}  (user understudy, password {password})")
    out.print(f"  Demo shop  http://{_SHOP_HOST}:{port}/\n")

    showing = DemoScenario(
        stack.url, stack.token_file.read_text().strip(), f"http://{_SHOP_HOST}:{port}/", out
    )
    # The job in a thread, the supervisor here: it started the processes, and they would die with its thread.
    job = threading.Thread(target=showing.run, name="demo", daemon=True)
    job.start()
    stack.supervisor.run(until=lambda: not job.is_alive())
    if stack.supervisor.stop_requested:
        showing.stop()
        # It leaves the terminal in order; but a call that waits must not hold up the stop.
        job.join(_LEAVE_S)
        raise StopRequested
    return showing.succeeded
