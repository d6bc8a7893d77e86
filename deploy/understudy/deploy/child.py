"""One process of the stack: start, status, stop, and the cleanup of an orphan."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from understudy.deploy import exec_with_parent
from understudy.deploy.owner_only_files import open_private, write_private

#: Log lines that a failure quotes.
_TAIL_LINES = 12
#: Beginning of the names of variables with models, their addresses and keys.
_MODEL_SETTINGS = "UNDERSTUDY_LLM_"


class ChildFailed(Exception):
    """A process of the stack ended or did not become ready. The message quotes its log."""


class Child:
    """A process that dies with this one, has its own log, and does not receive the terminal's Ctrl-C.

    The command runs in a session of its own: Ctrl-C reaches only the supervisor, which stops the stages in
    order. `run_dir` keeps the pid while the process runs, for `kill_orphan`. `log` is appended to. `ready`
    returns whether the process works. It is called often: it must be quick and must not raise. Without it, a
    running process is ready. The process creates `ready_file` when it is ready; `start` removes an old one.

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
        calls_models: bool = False,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self._pid_file = run_dir / f"{name}.pid"
        env = os.environ if env is None else env
        self._env = dict(env) if calls_models else without_model_settings(env)
        self._cwd = cwd
        self._ready = ready
        self._ready_file = ready_file
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Returns the pid, also after the end; None if never started."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """Returns None while it runs or if never started; a negative number is the signal that ended it."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self.exit_code is None

    @property
    def ready(self) -> bool:
        """Returns whether the process runs and works."""
        if not self.running or (self._ready_file and not self._ready_file.exists()):
            return False
        return self._ready is None or self._ready()

    def start(self) -> None:
        """Starts the process; does not wait until it is ready."""
        if self._ready_file:
            self._ready_file.unlink(missing_ok=True)
        # -I -S: the wrapper needs only the standard library. The environment and the current folder must not
        # change or slow it.
        wrapper = (sys.executable, "-I", "-S", exec_with_parent.__file__, str(os.getpid()))
        with open(self.log, "ab", opener=open_private) as log:
            self._process = subprocess.Popen(  # noqa: S603 - the supervisor's own command
                [*wrapper, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
                # Logs and other files contain what participants did: only the owner may read them.
                umask=0o077,
            )
        write_private(self._pid_file, f"{self._process.pid} {_start_time(self._process.pid)}\n")

    def terminate(self) -> None:
        """Sends SIGTERM and returns at once. The process itself ends its own children."""
        if self.running and self._process:
            self._process.terminate()

    def kill(self) -> None:
        """Kills the process and its session at once."""
        if self._process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        # From now on the pid can belong to another process.
        self._pid_file.unlink(missing_ok=True)

    def stop(self, grace_s: float) -> None:
        """Sends SIGTERM, waits up to `grace_s`, then kills the process and its session."""
        self.terminate()
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.kill()

    def log_tail(self) -> str:
        """Returns the last lines of the log, for an error message; empty if there is no log."""
        if not self.log.exists():
            return ""
        lines = self.log.read_bytes()[-8192:].decode(errors="replace").splitlines()
        return "\n".join(f"  | {line}" for line in lines[-_TAIL_LINES:])

    def failure(self, problem: str) -> ChildFailed:
        """Returns an exception that names the process and `problem` and quotes the end of the log."""
        return ChildFailed(f"{self.name} {problem}; the end of {self.log}:\n{self.log_tail()}")


def without_model_settings(env: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment without the settings of language models, whose names may be in any case."""
    return {name: value for name, value in env.items() if not name.upper().startswith(_MODEL_SETTINGS)}


def describe_exit(exit_code: int) -> str:
    """Returns an exit code as text: `exit code 3`, `SIGKILL`."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def kill_orphan(pid_file: Path, grace_s: float = 5) -> int | None:
    """Kills the process that a killed supervisor left behind, identified by its pid file.

    The pid and the start time must both equal the recorded ones. Sends SIGTERM, then SIGKILL after `grace_s`.
    Returns the pid of the killed process, else None. Call it only while holding the lock of the folder:
    otherwise the process may belong to a live supervisor. Can be repeated.
    """
    try:
        recorded_pid, started = pid_file.read_text().strip().split(" ", 1)
        pid = int(recorded_pid)
    except FileNotFoundError:
        return None
    except ValueError:  # a machine crash left a partial file
        pid, started = 0, ""
    found = pid > 1 and started != "" and _start_time(pid) == started
    if found:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + grace_s
            while _start_time(pid) == started and time.monotonic() < deadline:
                time.sleep(0.02)
    pid_file.unlink(missing_ok=True)
    return pid if found else None


def _start_time(pid: int) -> str:
    """Returns the start time of a process as text that differs for every process with the same pid.

    Empty if there is no such process or it is a zombie. Linux: boot id and clock ticks; else output of `ps`.
    """
    if sys.platform == "linux":
        try:
            # The name, in brackets, may contain brackets and blanks; the needed fields follow it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else f"{boot}/{fields[19]}"
    listing = subprocess.run(  # noqa: S603 - fixed program, a number as argument
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return " ".join(listing.stdout.split())
