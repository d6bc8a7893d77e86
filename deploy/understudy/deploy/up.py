"""`understudy up`: everything on this machine, until Ctrl-C."""

import sys

from understudy.deploy.broker import BrokerFailed
from understudy.deploy.child import ChildFailed
from understudy.deploy.lock import FolderTaken
from understudy.deploy.stack import Stack, StackFailed, StackPlan, running
from understudy.deploy.supervisor import StopRequested
from understudy.settings import Settings

#: What `running` raises when the stack can't be had; each says what to do in its text.
CANT_RUN = (BrokerFailed, ChildFailed, FolderTaken, StackFailed)


def up(settings: Settings, plan: StackPlan) -> int:
    """Runs the stack until SIGINT, SIGTERM or SIGHUP; returns the exit code: 0 when it ran, 1 when it could
    not.

    Prints one line on stdout once everything works, `ready http://H:P`; all else goes to stderr. The next
    `up` on the same folder goes on with what was unfinished. Source: contract section 8.
    """
    try:
        with running(settings, plan, say) as stack:
            _tell(stack)
            print(f"ready {stack.url}", flush=True)  # noqa: T201 - what callers wait for
            stack.supervisor.run()
            say("stopping; press Ctrl-C again to force")
        say("stopped")
    except StopRequested:
        say("stopped before it was ready")
        return 1
    except CANT_RUN as problem:
        say(str(problem))
        return 1
    return 0


def say(text: str) -> None:
    """A line to whoever watches; never on stdout, which belongs to programs."""
    print(f"understudy: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _tell(stack: Stack) -> None:
    say(f"API docs  {stack.url}/docs")
    if stack.flower_url:
        say(f"Flower    {stack.flower_url}  (user understudy, password in {stack.flower_password_file})")
    say(f"token     in {stack.token_file}")
    say(f"logs      in {stack.logs}")
