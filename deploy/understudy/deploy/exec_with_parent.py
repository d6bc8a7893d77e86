"""Runs a command that cannot outlive the process that started it.

`python tied.py <pid of the parent> <command> <argument>…` asks the kernel to kill this process when its
parent dies, and becomes the command. The wish survives the exec, so that it holds for programs which are not
ours (the broker, Flower) too. A wrapper instead of subprocess's `preexec_fn`: code between fork and exec is
not safe in a process with threads. Only Linux has the wish; elsewhere the command just runs, and the next
`up` ends what was left over by its recorded pid (`understudy.deploy.child.kill_orphan`).

The parent is, to the kernel, the *thread* that started the child: start children from threads that live on.

Standard library only, and run as a file: it must start in milliseconds.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def kill_on_parent_exit(parent: int) -> None:
    """Ends this process with its parent. If the parent is gone already, ends it now."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - not needed elsewhere, and slow to load

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the wish was made.
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
