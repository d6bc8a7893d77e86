"""`understudy up`: runs the whole stack on this machine until Ctrl-C."""

from understudy.cli.terminal import write_line
from understudy.deploy.broker import BrokerFailed
from understudy.deploy.child import ChildFailed
from understudy.deploy.lock import DataDirLocked
from understudy.deploy.stack import Stack, StackPlan, StackStartError, run_stack
from understudy.deploy.supervisor import StopRequested
from understudy.queue.names import RUN_TASK
from understudy.settings import Settings

#: Exceptions of `run_stack` when the stack cannot start; each message says what to do.
STARTUP_ERRORS = (BrokerFailed, ChildFailed, DataDirLocked, StackStartError)


def up(settings: Settings, plan: StackPlan) -> int:
    """Runs the stack until SIGINT, SIGTERM or SIGHUP; returns exit code 0, or 1 if it could not start.

    Prints one line on stdout when everything works, `ready http://H:P`; all other output goes to stderr. The
    next `up` on the same folder continues unfinished participants. Source: contract section 8.
    """
    try:
        with run_stack(settings, plan, log_status) as stack:
            _print_addresses(stack)
            if stack.hides_private_hosts:
                log_status(
                    f"participants visit no private addresses, because others reach {plan.host}: "
                    "UNDERSTUDY_ALLOW_PRIVATE_HOSTS=true, or a list of networks, allows them"
                )
            write_line(f"ready {stack.url}")
            stack.supervisor.run()
            log_status("stopping; press Ctrl-C again to force")
        log_status("stopped")
    except StopRequested:
        log_status("stopped before it was ready")
        return 1
    except STARTUP_ERRORS as problem:
        log_status(str(problem))
        return 1
    return 0


def log_status(text: str) -> None:
    """Prints a status line to stderr; stdout is reserved for programs."""
    write_line(f"understudy: {text}", stderr=True)


def _print_addresses(stack: Stack) -> None:
    log_status(f"API docs  {stack.url}/docs")
    if stack.flower_url:
        log_status(f"Flower    {stack.flower_url}  (user understudy, password in {stack.flower_password_file})")
        log_status(f"   without stop tasks: {stack.flower_url}/tasks?name={RUN_TASK}")
    log_status(f"token     in {stack.token_file}")
    log_status(f"logs      in {stack.logs}")
