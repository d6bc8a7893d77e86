"""One process of the stack: started, watched, stopped, and found again if it was left over."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from understudy.deploy import exec_with_parent
from understudy.deploy.owner_only_files import write_private

#: How much of a log a failure quotes.
_TAIL_LINES = 12


class ChildFailed(Exception):
    """A process of the stack ended, or did not get ready, when it was needed. The text quotes its log."""


class Child:
    """A process that dies with this one, has its own log, and does not hear the terminal's Ctrl-C.

    The command runs in a session of its own: a Ctrl-C reaches only the supervisor, which stops things in
    order. `run_dir` keeps its pid while it runs, for `kill_orphan`; `log` is appended to. `ready` tells
    whether it does its work (called often, must be quick, may not raise); without it, running is ready.
    `ready_file` is a file the process itself makes once it is ready; one from an earlier run is removed
    before each start.

    Start it from a thread that lives as long as the child should (see `understudy.deploy.exec_with_parent`).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        run_dir: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Callable[[], bool] | None = None,
        ready_file: Path | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self._pid_file = run_dir / f"{name}.pid"
        self._env = env
        self._cwd = cwd
        self._ready = ready
        self._ready_file = ready_file
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its pid once started, also after its end."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs or was never started; negative for the signal that ended it."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self.exit_code is None

    @property
    def ready(self) -> bool:
        """Does it run and do its work?"""
        if not self.running or (self._ready_file and not self._ready_file.exists()):
            return False
        return self._ready is None or self._ready()

    def start(self) -> None:
        """Starts it; does not wait until it is ready."""
        if self._ready_file:
            self._ready_file.unlink(missing_ok=True)
        # -I -S: the wrapper needs nothing but the standard library, and must not be slowed down or led astray
        # by what the environment or the current folder says.
        wrapper = (sys.executable, "-I", "-S", exec_with_parent.__file__, str(os.getpid()))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the supervisor's own command
                [*wrapper, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
                # Logs, and what the parts write, hold what people did: nobody else's to read.
                umask=0o077,
            )
        write_private(self._pid_file, f"{self._process.pid} {_start_time(self._process.pid)}\n")

    def terminate(self) -> None:
        """Asks it to end; returns at once. It passes that on to its own children as it sees fit."""
        if self.running and self._process:
            self._process.terminate()

    def kill(self) -> None:
        """Ends it, and what it started in its session, now."""
        if self._process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        # Its pid is another's from now on.
        self._pid_file.unlink(missing_ok=True)

    def stop(self, grace_s: float) -> None:
        """Asks it to end, waits up to `grace_s`, then ends it. Leaves nothing of its session behind."""
        self.terminate()
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.kill()

    def log_tail(self) -> str:
        """The end of its log, for a message about what went wrong."""
        if not self.log.exists():
            return ""
        lines = self.log.read_bytes()[-8192:].decode(errors="replace").splitlines()
        return "\n".join(f"  | {line}" for line in lines[-_TAIL_LINES:])

    def failure(self, what: str) -> ChildFailed:
        """The exception that says what went wrong with it, with the end of its log."""
        return ChildFailed(f"{self.name} {what}; the end of {self.log}:\n{self.log_tail()}")


def describe_exit(exit_code: int) -> str:
    """An exit code in words: `exit code 3`, `SIGKILL`."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def kill_orphan(pid_file: Path, grace_s: float = 5) -> int | None:
    """Ends the process a killed supervisor left behind, known by the pid file it wrote.

    Only if it is that very process: its pid and the moment of its birth must both be the recorded ones.
    Returns its pid if there was one to end. Call it only while holding the lock of the folder: otherwise the
    process may belong to a supervisor that lives. May be repeated.
    """
    try:
        recorded_pid, born = pid_file.read_text().strip().split(" ", 1)
        pid = int(recorded_pid)
    except FileNotFoundError:
        return None
    except ValueError:  # written halfway when the machine went down
        pid, born = 0, ""
    found = pid > 1 and born != "" and _start_time(pid) == born
    if found:
        for ending in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, ending)
            deadline = time.monotonic() + grace_s
            while _start_time(pid) == born and time.monotonic() < deadline:
                time.sleep(0.02)
    pid_file.unlink(missing_ok=True)
    return pid if found else None


def _start_time(pid: int) -> str:
    """When this process was born, as text that tells it from any other that had or will have its pid.

    Empty if there is none (a zombie counts as none). Linux: boot and clock ticks since; else what `ps` says.
    """
    if sys.platform == "linux":
        try:
            # The name, in brackets, may itself hold brackets and blanks; the fields of interest come after
            # it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else f"{boot}/{fields[19]}"
    shown = subprocess.run(  # noqa: S603 - fixed program, a number as argument
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return " ".join(shown.stdout.split())
