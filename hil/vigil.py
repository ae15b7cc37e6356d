"""The watch over everything a live run depends on: the solver, the supervisor, the lease, the emergency stop.

What the kernel knows, it says at once: a pidfd becomes readable when a process dies, and /proc shows one that is stopped. What it
cannot know (a solver that loops, a machine that slept) shows in the heartbeat that the bridge leaves in shared memory. The first
thing found is the cause; there is no way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from hil.safety import EmergencyStop

LOOK_S = 0.02
"""How often it looks at what does not report itself."""


def is_stopped(pid: int) -> bool:
    """Whether a signal (SIGSTOP, a debugger) holds the process. False where that cannot be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] in (b"T", b"t")


class Vigil:
    """Calls `alarm(cause)` once, as soon as something that a live run depends on is gone."""

    def __init__(self, stop: EmergencyStop | None, alarm: Callable[[str], None], solver_limit_ns: int) -> None:
        self._stop, self._alarm, self._solver_limit_ns = stop, alarm, solver_limit_ns
        self._watched: dict[int, tuple[str, int]] = {}
        self._known: set[int] = set()
        self._heartbeats: list[tuple[Callable[[], tuple[int, bool]], int]] = []
        self._checks: list[Callable[[int], None]] = []
        self._task: asyncio.Task[None] | None = None
        self.cause = ""

    def start(self) -> None:
        """Begin to watch; to be called in the loop."""
        self._task = asyncio.get_running_loop().create_task(self._look())

    def process(self, what: str, pid: int) -> None:
        """Watch a process until it dies or is stopped. A second call for it does nothing."""
        if pid in self._known:
            return  # also one that has died: its number may be somebody else's by now
        self._known.add(pid)
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self.raise_alarm(f"the {what} (pid {pid}) is dead")
            return
        self._watched[pid] = (what, descriptor)
        asyncio.get_running_loop().add_reader(descriptor, self._died, what, pid, descriptor)

    def heartbeat(self, beat: Callable[[], tuple[int, bool]], period_ns: int) -> None:
        """Watch a heartbeat: (CLOCK_MONOTONIC, ns, of the last beat, 0 before the first; whether the run ended in good order). It
        is due once in a period; the solver's limit counts from there."""
        self._heartbeats.append((beat, self._solver_limit_ns + period_ns))

    def also(self, check: Callable[[int], None]) -> None:
        """Call `check(now)` at every look, for what concerns one device alone (its lease)."""
        self._checks.append(check)

    def raise_alarm(self, cause: str) -> None:
        """The first cause counts."""
        if not self.cause:
            self.cause = cause
            self._alarm(cause)

    def close(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
        for _, descriptor in self._watched.values():
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()

    def _died(self, what: str, pid: int, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        with contextlib.suppress(KeyError):
            del self._watched[pid]
        os.close(descriptor)
        if not any(over for _, over in (beat() for beat, _ in self._heartbeats)):
            self.raise_alarm(f"the {what} (pid {pid}) is dead")

    def look(self) -> str:
        """Look at once; gives the cause of the alarm, empty where all is well. Every write asks: a gatekeeper that was itself held
        (SIGSTOP, a busy machine) may have missed its regular looks."""
        if self.cause:
            return self.cause
        if self._stop is not None and self._stop.is_set:
            self.raise_alarm(f"emergency stop: {self._stop.why()}")
        now_ns = time.monotonic_ns()
        for check in self._checks:
            check(now_ns)
        for pid, (what, _) in self._watched.items():
            if is_stopped(pid):
                self.raise_alarm(f"the {what} (pid {pid}) is stopped (SIGSTOP)")
        for beat, limit_ns in self._heartbeats:
            at_ns, over_well = beat()
            if over_well:
                self.raise_alarm("the run is over")
            elif at_ns and now_ns - at_ns > limit_ns:
                silent_s = (now_ns - at_ns) / 1e9
                self.raise_alarm(f"the solver has been silent for {silent_s:.2f} s (limit {limit_ns / 1e9:g} s with its period)")
        return self.cause

    async def _look(self) -> None:
        try:
            while not self.look():
                await asyncio.sleep(LOOK_S)
        except Exception as error:  # nobody would look any more
            self.raise_alarm(f"the watch over the run failed: {type(error).__name__}: {error}")
