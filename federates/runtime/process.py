"""One child process of the supervisor: started in a session of its own, watched without being reaped, ended with all it started."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

_ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA")
_SIGNALS = {int(number): number.name for number in signal.Signals}
_REAP_S = 5.0
_TAIL_BYTES = 64 * 1024


def child_environment() -> dict[str, str]:
    """The parent's environment and import path; one BLAS thread and a fixed hash seed, so that sums and orders repeat."""
    threads = {f"{library}_NUM_THREADS": "1" for library in _ONE_THREAD} | {"VECLIB_MAXIMUM_THREADS": "1"}
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if os.pathsep not in entry)
    return {**os.environ, **threads, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}


PRIVATE_VARIABLE = "GRIDTANDEM_PRIVATE"
"""Environment of every process of a run: the private directory, where companions leave their addresses and shared memory."""


class Child:
    """A worker, a companion or the broker. It stays a zombie until `end`, so that its process group's number cannot be anybody
    else's."""

    def __init__(self, name: str, row: int, directory: Path, log: Path, module: str = "worker") -> None:
        self.name, self.row, self.log = name, row, log
        self._status: str | None = None
        self._reaped = False
        command = [sys.executable, "-P", "-m", f"federates.runtime.{module}", str(directory), name, str(row), str(os.getpid())]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**child_environment(), PRIVATE_VARIABLE: str(directory)},
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def ended(self) -> str | None:
        """How it ended, in words; None while it lives."""
        if self._status is None:
            try:
                result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._status = "its process is gone, and somebody else has taken its exit code"
                return self._status
            if result is not None and result.si_code == os.CLD_EXITED:
                self._status = f"its process ended with exit code {result.si_status} in the middle of the run"
            elif result is not None:
                name = _SIGNALS.get(result.si_status, f"signal {result.si_status}")
                hint = " (kill -9, or the machine ran out of memory)" if result.si_status == signal.SIGKILL else ""
                self._status = f"its process was killed by {name}{hint}"
        return self._status

    def is_stopped(self) -> bool:
        """True while a signal (SIGSTOP) holds it."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return False

    def show_stacks(self) -> None:
        """Have it write what all its threads are doing to its log; works while the interpreter is held."""
        if self.ended() is None:
            os.kill(self.pid, signal.SIGUSR1)

    def end(self) -> bool:
        """Kill whatever is left of it and of what it started, and reap it. False when the kernel does not let go of it."""
        if not self._reaped:
            self.ended()
            with contextlib.suppress(ProcessLookupError):  # somebody else reaped it and nothing is left of its group
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # said by the answer
                self._popen.wait(timeout=_REAP_S)
                self._reaped = True
            self._status = self._status or "it was ended by its supervisor"
        return self._reaped

    def log_tail(self, lines: int = 15) -> tuple[str, ...]:
        """The last lines of its log; the stack of the federate being called where stacks were written."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
        stacks = re.split(r"\n(?=(?:Thread|Current thread) 0x)", text)
        calls = [stack for stack in stacks[1:] if " in _guarded" in stack]
        return tuple(calls[-1].rstrip().splitlines()[:lines] if calls else text.rstrip().splitlines()[-lines:])
