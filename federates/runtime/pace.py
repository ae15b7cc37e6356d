"""Real time: a grid of instants kept by the kernel, and a federation held to the clock on the wall.

A grid is absolute, t0 + k P, so that what comes late does not make the rest late. `GridTimer` is the kernel's timerfd on such a
grid: a read gives the number of instants since the last one, so periods that were missed are counted and never guessed. Measured on
two shared cores (10 ms period, 60 s): an asyncio sleep is late by 1.2 ms at the median and 70 ms at worst under load, a timerfd in
the same loop by 0.1 ms and 10 ms.

`Pacer` holds a process's federates: the first call of an instant t waits until t0 + t. Simulated time is never skipped; after a
slow step the next ones follow at once until the grid is met again. All processes of a run share one t0, which the first to leave t
= 0 sets. How late each call began is in the run's `timing.parquet`, column `lateness_ns`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from federates.runtime.federate import S_NS

if TYPE_CHECKING:
    from federates.runtime.seat import Watch

PACE_FILE = "pace.json"
_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK, _TFD_CLOEXEC, _TFD_ABSTIME = 0o4000, 0o2000000, 1
_LONGEST_HOLD_S = 0.5  # the heartbeat is renewed at least this often while a step is awaited


@dataclass(frozen=True, slots=True)
class Tick:
    """An instant of a grid that has come: its number, when it was due, when it was noticed, and how many before it were missed."""

    number: int
    due_ns: int
    woke_ns: int
    missed: int

    @property
    def lateness_ns(self) -> int:
        """How late it was noticed."""
        return self.woke_ns - self.due_ns


class GridTimer:
    """The kernel's timer on the grid `t0_ns` + k `period_ns` of CLOCK_MONOTONIC; the first instant is k = 1. Linux only.

    `fileno` becomes readable at each instant; `take` then says which. `overruns` counts all that were missed.
    """

    def __init__(self, period_ns: int, t0_ns: int | None = None) -> None:
        if period_ns <= 0:
            raise ValueError(f"a grid needs a period above 0, not {period_ns} ns")
        if sys.platform != "linux":
            raise OSError("the kernel's timer (timerfd) is needed to pace devices, and only Linux has it")
        self.period_ns = period_ns
        self.t0_ns = time.monotonic_ns() if t0_ns is None else t0_ns
        self.overruns = 0
        self._number = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), f"timerfd_create: {os.strerror(ctypes.get_errno())}")
        first_ns = self.t0_ns + period_ns
        times = struct.pack("@qqqq", *divmod(period_ns, S_NS), *divmod(first_ns, S_NS))
        if self._libc.timerfd_settime(self._fd, _TFD_ABSTIME, times, None):
            raise OSError(ctypes.get_errno(), f"timerfd_settime: {os.strerror(ctypes.get_errno())}")

    def fileno(self) -> int:
        """For a selector or `loop.add_reader`."""
        return int(self._fd)

    def take(self) -> Tick | None:
        """The latest instant that has come since the last call, with those missed before it; None where none has."""
        try:
            (expirations,) = struct.unpack("=Q", os.read(self._fd, 8))
        except BlockingIOError:
            return None
        woke_ns = time.monotonic_ns()
        self._number += expirations
        missed = expirations - 1
        self.overruns += missed
        return Tick(self._number, self.t0_ns + self._number * self.period_ns, woke_ns, missed)

    def close(self) -> None:
        """Give the timer back. Closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Pacer:
    """A `seat.Watch` around another one that lets no federate compute before its instant has come on the wall.

    `directory` is shared by the processes of the run; what is agreed there goes into `run_dir` for the records.
    """

    def __init__(self, watch: Watch, directory: Path, run_dir: Path) -> None:
        self._watch, self._directory, self._run_dir = watch, directory, run_dir
        self._t0_ns: int | None = None
        self._t_ns = 0

    def computing(self, federate: str, t_ns: int) -> None:
        """A federate is about to be called for `t_ns`: waits until then."""
        if t_ns > self._t_ns:
            self._hold(t_ns)
            self._t_ns = t_ns
        self._watch.computing(federate, t_ns)

    def waiting(self, t_ns: int) -> None:
        """Passed on."""
        self._watch.waiting(t_ns)

    def _hold(self, t_ns: int) -> None:
        if self._t0_ns is None:
            self._t0_ns = self._agree(time.monotonic_ns() - t_ns)
        due_ns = self._t0_ns + t_ns
        while (left_s := (due_ns - time.monotonic_ns()) / 1e9) > 0.0:
            self._watch.waiting(self._t_ns)
            time.sleep(min(left_s, _LONGEST_HOLD_S))  # an absolute sleep of the kernel's since CPython 3.11

    def _agree(self, proposal_ns: int) -> int:
        """The t0 of the run: of the first process that asks. The file appears whole or not at all."""
        agreed, own = self._directory / PACE_FILE, self._directory / f"{PACE_FILE}.{os.getpid()}"
        wall_ns = time.time_ns() - (time.monotonic_ns() - proposal_ns)
        own.write_text(json.dumps({"t0_ns": proposal_ns, "t0_utc_ns": wall_ns}), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(own, agreed)
            (self._run_dir / PACE_FILE).write_bytes(own.read_bytes())
        own.unlink()
        return int(json.loads(agreed.read_text(encoding="utf-8"))["t0_ns"])


def read_t0_ns(run_dir: Path) -> int | None:
    """The monotonic time of t = 0 of a run that was held to the wall clock; None for one that was not."""
    path = run_dir / PACE_FILE
    return int(json.loads(path.read_text(encoding="utf-8"))["t0_ns"]) if path.exists() else None
