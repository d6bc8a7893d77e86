"""Runs a command that cannot outlive the process that started it.

`python exec_with_parent.py <pid of the parent> <command> <argument>…` asks the kernel to kill this process
when its parent dies, then executes the command. The request survives the exec, so it also covers third-party
programs (the broker, Flower). A wrapper replaces subprocess's `preexec_fn`, because code between fork and
exec is not safe in a process with threads. Only Linux supports the request; elsewhere the command just runs,
and the next `up` kills orphans by their recorded pid (`understudy.deploy.child.kill_orphan`).

For the kernel the parent is the *thread* that started the child: start children from long-lived threads.

It uses only the standard library and runs as a file, because it must start in milliseconds.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def kill_on_parent_exit(parent: int) -> None:
    """Ends this process when its parent ends; exits at once if the parent has already ended."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - not needed elsewhere, and slow to load

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the request.
    if os.getppid() != parent:
        sys.exit(1)


def main() -> None:
    parent, *command = sys.argv[1:]
    kill_on_parent_exit(int(parent))
    try:
        os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command, no shell
    except OSError as problem:
        sys.exit(f"can't run {command[0]}: {problem.strerror}")


if __name__ == "__main__":
    main()
